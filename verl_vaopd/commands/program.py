"""How this program is called from here, and how paths are told."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path


def program() -> str:
    """The command that a person would type for this program."""
    called = Path(sys.argv[0])
    if called.name != "vaopd":
        return shlex.join([short(Path(sys.executable)), "-m", "verl_vaopd.cli"])
    return "vaopd" if shutil.which("vaopd") == str(called) else shlex.quote(short(called))


def short(path: Path) -> str:
    """The path from the working directory, unless that leads out of it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
