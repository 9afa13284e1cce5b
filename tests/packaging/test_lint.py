"""ruff refuses heavy imports in algorithms/, and only there."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def banned_imports(code: str, path: str) -> int:
    """How many times rule TID251 fires for `code` as if it were the file `path`."""
    result = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=concise", "--stdin-filename", path, "-"],
        input=code,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode in (0, 1), result.stderr
    return result.stdout.count("TID251")


@pytest.mark.parametrize("package", ["verl", "ray", "vllm", "transformers", "tensordict"])
@pytest.mark.parametrize("statement", ["import {0}", "from {0}.utils import x", "def f():\n    import {0}.a"])
def test_algorithms_cannot_import(package, statement):
    code = statement.format(package)
    assert banned_imports(code, "verl_vaopd/algorithms/new.py") == 1
    assert banned_imports(code, "verl_vaopd/algorithms/deeper/new.py") == 1
    assert banned_imports(code, "verl_vaopd/actor/new.py") == 0


def test_algorithms_can_import_torch_and_this_package():
    assert banned_imports("import torch\nfrom verl_vaopd.algorithms import checks", "verl_vaopd/algorithms/new.py") == 0
