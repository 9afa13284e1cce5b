"""A directory without data, a machine without GPUs, and no copy of a model of the hub."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
from omegaconf import DictConfig, OmegaConf

from tests.parsed_once import parsed_once
from verl_vaopd.commands import plan as command
from verl_vaopd.config import compose
from verl_vaopd.config.overrides import is_group, parse

PAPER = ["hardware=a100x8", "student=2b", "teacher=8b", "dataset=geo3k"]
TINY = ["hardware=cpu", "student=tiny", "teacher=tiny", "dataset=tinygeo"]
HARDWARE = ("a100x8", "h100x1", "h200x1", "cpu")
# The paper's main result, its two other teachers, and its other data set (Sec. 4.1 and 4.3).
CONFIGURATIONS = (("8b", "geo3k"), ("4b", "geo3k"), ("32b", "geo3k"), ("8b", "virl39k"))

_composed = functools.cache(lambda groups: compose(groups))


def composed(*overrides: str) -> DictConfig:
    """The paper's job with these overrides; values are set after composing, which is much faster. `teacher=` counts as
    a value."""
    chosen = {override.partition("=")[0]: override for override in [*PAPER, *overrides]}
    teacher = chosen.pop("teacher").partition("=")[2]
    parsed = [parse(override) for override in chosen.values()]
    groups = tuple(override.input_line for override in parsed if is_group(override))
    cfg = copy.deepcopy(_composed((*groups, "teacher=8b")))
    OmegaConf.update(cfg, "teacher.path", f"Qwen/Qwen3-VL-{teacher.upper()}-Instruct")
    for override in parsed:
        if not is_group(override):
            OmegaConf.update(cfg, override.key_or_group, override.value())
    return cfg


@pytest.fixture(scope="package", autouse=True)
def fast_compositions() -> Iterator[None]:
    with parsed_once():
        yield


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(command, "probe_gpus", list)
    return tmp_path
