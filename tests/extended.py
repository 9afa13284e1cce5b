"""A copy of the package with everything on docs/extending.md added to it, by the blocks of that page alone."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "extending.md"
_BLOCK = re.compile(r"^```\w+ (new|file)=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def extended_copy(directory: Path) -> Path:
    """`directory` with verl_vaopd/ and recipes/, extended; the shipped models are linked, not copied."""
    shutil.copytree(
        ROOT / "verl_vaopd", directory / "verl_vaopd", ignore=shutil.ignore_patterns("__pycache__", "assets")
    )
    (directory / "verl_vaopd" / "assets").symlink_to(ROOT / "verl_vaopd" / "assets")
    shutil.copytree(ROOT / "recipes", directory / "recipes")
    for kind, name, text in _BLOCK.findall(PAGE.read_text()):
        path = directory / name
        if kind == "new":
            assert not path.exists(), f"{name} is there already"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        else:
            path.write_text(_patched(path.read_text(), text, name))
    return directory


def _patched(source: str, difference: str, name: str) -> str:
    """The file after hunks of lines that go (-), come (+) or stay ( ); the old lines of each stand in it once."""
    for hunk in difference.split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        old = "".join(line[1:] for line in lines if line[0] in " -")
        new = "".join(line[1:] for line in lines if line[0] in " +")
        assert source.count(old) == 1, f"{name}: expected once, got {source.count(old)} times:\n{old}"
        source = source.replace(old, new)
    return source
