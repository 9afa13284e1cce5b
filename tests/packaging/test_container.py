"""launch/Dockerfile.gpu names the versions of the lock, and is clean by hadolint. Nothing builds it: no Docker here."""

from __future__ import annotations

import re
import subprocess
import sysconfig
from pathlib import Path

from packaging.specifiers import SpecifierSet

from tests.packaging.test_metadata import lock

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "launch" / "Dockerfile.gpu"


def instructions() -> str:
    """Without comments."""
    return "\n".join(line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#"))


def test_versions_are_those_of_the_lock() -> None:
    (cuda,) = re.findall(r"^FROM nvidia/cuda:([\d.]+)-devel-", instructions(), flags=re.MULTILINE)
    assert cuda == lock("gpu")["cuda-toolkit"]
    (major,) = re.findall(r"^CUDA_MAJOR=(\d+)", (ROOT / "launch/gpu_checks.sh").read_text(), flags=re.MULTILINE)
    assert cuda.split(".")[0] == major
    assert re.findall(r"\buv==(\S+)", instructions()) == [lock("gpu")["uv"]]
    # Nothing else is pinned here: all other versions come from the lock, by launch/setup.sh.
    assert len(re.findall(r"==", instructions())) == 1
    (python,) = re.findall(r"uv brings Python (3\.\d+)", DOCKERFILE.read_text())
    (wanted,) = re.findall(r'python_requires="([^"]+)"', (ROOT / "setup.py").read_text())
    assert SpecifierSet(wanted).contains(f"{python}.0")


def test_it_is_set_up_for_gpus_by_the_same_script() -> None:
    (set_up,) = re.findall(r"^RUN --mount(?:.*\\\n)*.*launch/setup\.sh$", instructions(), flags=re.MULTILINE)
    assert "VAOPD_HARDWARE=gpu" in set_up
    assert re.search(r"^ARG FLASH_ATTN_CUDA_ARCHS=", instructions(), flags=re.MULTILINE)
    (entry,) = re.findall(r'^ENTRYPOINT \["bash", "(\S+)"\]$', instructions(), flags=re.MULTILINE)
    assert (ROOT / entry).is_file()


def test_it_is_clean() -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
