"""Launching commands in a directory of their own, with compositions that take no time."""

import contextlib
import sys
from pathlib import Path

import pytest

from tests.commands.stand_in_training import small_configuration

COMMAND = [sys.executable, str(Path(__file__).with_name("stand_in_training.py"))]


@contextlib.contextmanager
def small_in(directory, command):
    """Compositions of `command` (compare, two_stage) are small; runs are written below the directory."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(directory)
        monkeypatch.setattr(
            f"verl_vaopd.commands.{command}.compose_all",
            lambda parts: {part: small_configuration(overrides) for part, overrides in parts.items()},
        )
        yield directory / "runs" / f"{command.replace('_', '-')}-pilot"
