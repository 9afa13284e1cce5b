"""What a person's use leaves in a clone changes no check."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OUTSIDE_MAKE = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
# Would fail every check: lint, format, types.
BROKEN = "import os\nx : int='text'\n"
LEFT_BEHIND = (
    "datasets/tinygeo/notes.py",
    "datasets/__init__.py",
    "runs/vaopd/notes.py",
    "eval/notes.py",
    "models/convert.py",
    "env311/lib/python3.11/site-packages/some_package/__init__.py",
    "notebook.py",
)


@pytest.mark.slow
def test_lint_and_types_pass_in_a_clone_that_was_used(tmp_path):
    clone = tmp_path / "clone"
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in tracked:
        if (ROOT / name).is_file() and "assets" not in Path(name).parts:
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    for name in LEFT_BEHIND:
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_text(BROKEN)
    # The environment is there already; types are looked up again where this run of `make test` has found them. Without
    # that cache they take half a minute, ten times as long on a machine that does much else.
    (clone / "launch/setup.sh").write_text("#!/bin/sh\n")
    (clone / ".venv").symlink_to(ROOT / ".venv")
    if (ROOT / ".mypy_cache").is_dir():
        shutil.copytree(ROOT / ".mypy_cache", clone / ".mypy_cache")
    result = subprocess.run(
        ["make", "lint", "type"], cwd=clone, env=OUTSIDE_MAKE, capture_output=True, text=True, timeout=600
    )
    assert result.returncode == 0, result.stdout + result.stderr
