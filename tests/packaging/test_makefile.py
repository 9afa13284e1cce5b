"""What the Makefile promises: CI runs `make test`, pytest speaks last, and `clean` keeps the user's results."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
# These tests themselves run inside `make test`, and an inner make would report that on its standard output.
OUTSIDE_MAKE = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}


def commands(target: str) -> list[str]:
    """What `make target` would run."""
    result = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, env=OUTSIDE_MAKE, capture_output=True, text=True, check=True
    )
    return result.stdout.splitlines()


def test_test_sets_up_first_and_runs_pytest_last():
    lines = commands("test")
    assert lines[0] == "bash launch/setup.sh"
    assert lines.count(lines[0]) == 1
    assert lines[-1].startswith(".venv/bin/pytest")
    for tool in ("ruff check", "ruff format --check", "shellcheck", "mypy"):
        assert sum(tool in line for line in lines) == 1


def test_check_is_test_without_what_takes_long():
    *before, quick = commands("check")
    *before_all, everything = commands("test")
    assert before == before_all
    assert quick == f'{everything} -m "not e2e and not slow"'


def test_faults_are_left_to_a_target_of_their_own():
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["addopts"]
    assert options.endswith("-m 'not fault'")
    assert commands("test-faults")[-1] == ".venv/bin/pytest -q -m fault tests/faults"


def test_the_gpu_lock_is_tried_after_set_up_and_in_an_environment_of_its_own():
    assert commands("test-gpu-lock")[0] == "bash launch/setup.sh"
    script = (ROOT / "requirements/test_gpu_lock.sh").read_text()
    assert re.findall(r"(?:--python|exec) \"?(\S+?)/bin/python", script) == [".venv", *3 * ["$ENVIRONMENT"]]


def test_clusters_are_tried_by_their_scripts_which_are_linted():
    scripts = {"test-cluster": "tests/cluster/two_nodes.sh", "test-slurm": "tests/cluster/slurm.sh"}
    (lint,) = (line for line in commands("lint") if "shellcheck" in line)
    for target, script in scripts.items():
        assert commands(target) == [f"bash {script}"]
        assert script in lint.split()


def test_ci_runs_make_test_from_any_directory(tmp_path):
    (tmp_path / "clone/.ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci/run", tmp_path / "clone/.ci/run")
    (tmp_path / "clone/Makefile").write_text("test:\n\t@echo ran in $$PWD\n\t@exit 3\n")
    result = subprocess.run(
        [str(tmp_path / "clone/.ci/run")], cwd=tmp_path, env=OUTSIDE_MAKE, capture_output=True, text=True
    )
    assert result.stdout == f"ran in {tmp_path / 'clone'}\n"
    assert result.returncode == 2  # make's own code for a failed recipe


def test_clean_removes_build_products_and_keeps_runs(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    removed = [
        "build/x",
        "dist/x",
        "a.egg-info/x",
        ".mypy_cache/x",
        "tests/__pycache__/x",
        "verl_vaopd/b/__pycache__/x",
    ]
    kept = [
        "runs/build/x",
        "runs/r/__pycache__/x",
        "outputs/x",
        ".venv/lib/__pycache__/x",
        ".venv-gpu-lock/lib/__pycache__/x",
        "verl_vaopd/b/x.py",
    ]
    for name in removed + kept:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
    assert [name for name in removed if (tmp_path / name).exists()] == []
    assert [name for name in kept if not (tmp_path / name).exists()] == []
