"""Set-up of the GPU stack: what is checked before anything is downloaded, and whether flash-attn is there."""

import re

import pytest

from tests.packaging.stand_in_clone import GPU_LOCK, ROOT, Clone
from verl_vaopd.config.checks.machine import OLDEST_DRIVER

FORCED = {"VAOPD_ATTENTION": "flash_attention_2"}


@pytest.fixture
def clone(tmp_path) -> Clone:
    clone = Clone(tmp_path)
    clone.with_gpu()
    return clone


def change_lock(clone: Clone, old: str = "# version 1", new: str = "# version 2", name: str = "setup.py") -> None:
    path = clone.root / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def attention(clone: Clone) -> str:
    return re.search("^attention=(.*)$", clone.stamp.read_text(), flags=re.MULTILINE)[1]


def compiled(clone: Clone) -> bool:
    return any("--reinstall-package flash-attn" in call for call in clone.calls())


def test_flash_attn_comes_after_everything_else_and_is_compiled_for_the_gpus_found_alone(clone):
    clone.setup(CAPABILITIES="8.0 9.0 8.6")
    _, all_else, flash_attn, sync, _ = clone.calls()
    assert "--no-deps --require-hashes -r .setup/without-flash-attn.txt" in all_else
    assert (clone.root / ".setup/without-flash-attn.txt").read_text() == GPU_LOCK.partition("ee\n")[2]
    assert "--no-deps --require-hashes --reinstall-package flash-attn --refresh-package flash-attn" in flash_attn
    assert (clone.root / ".setup/flash-attn.txt").read_text() == GPU_LOCK.partition("torch")[0]
    environment = dict(line.split("=", 1) for line in (clone.fakes / "seen-environment").read_text().splitlines())
    assert environment["PATH"].startswith(f"{clone.root}/.venv/bin:")
    assert {name: value for name, value in environment.items() if name != "PATH"} == {
        "FLASH_ATTENTION_FORCE_BUILD": "TRUE",
        "FLASH_ATTN_CUDA_ARCHS": "80;90",
        "CUDA_HOME": str(clone.fakes),
    }
    assert "pip sync --python .venv/bin/python --require-hashes requirements/gpu.txt" in sync
    assert clone.stamp.read_text().startswith("hardware=gpu\n") and attention(clone) == "flash_attention_2"
    assert clone.setup() == ""


@pytest.mark.parametrize(
    ("variables", "got", "expected"),
    [
        ({"DRIVER": "570.86"}, "driver 570.86, CUDA 12", "driver 580 or newer"),
        ({"CC": "/missing/gcc"}, "none of: /missing/gcc", "Triton compiles with it"),
        ({"missing": "Python.h"}, "include/Python.h", "python3.11-dev"),
        ({"FREE_KB": "9000000"}, "got 9 GB free", "expected 12 GB"),
        ({**FORCED, "missing": "curand_kernel.h"}, "without curand_kernel.h", "set CUDA_HOME"),
        ({**FORCED, "TOOLKIT": "12.8"}, "CUDA 12.8", "CUDA toolkit 13.x"),
        ({**FORCED, "CUDA_HOME": "/missing/cuda"}, "no nvcc in /missing/cuda/bin", "CUDA toolkit 13.x"),
        ({**FORCED, "CXX": "/missing/g++"}, "no /missing/g++", "install g++"),
        ({**FORCED, "CAPABILITIES": "7.5"}, "compute capability 7.5", "VAOPD_ATTENTION=sdpa"),
        ({"VAOPD_ATTENTION": "eager"}, "'eager'", "flash_attention_2 or sdpa"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_a_machine_that_is_not_ready_is_refused_before_anything_is_downloaded(clone, variables, got, expected):
    if missing := variables.pop("missing", None):
        (clone.fakes / "include" / missing).unlink()
        variables = {"CUDA_HOME": str(clone.fakes), **variables}
    seen = clone.setup(expect=1, **variables)
    assert "FAILED" in seen and got in seen and expected in seen
    assert clone.calls() == []


def test_set_up_and_a_start_ask_for_the_same_driver():
    assert f"DRIVER_MAJOR={OLDEST_DRIVER} " in (ROOT / "launch" / "gpu_checks.sh").read_text()


def test_everything_that_is_missing_is_told_at_once(clone):
    seen = clone.setup(expect=1, DRIVER="570.86", CC="/missing/gcc", TOOLKIT="12.8", **FORCED)
    assert seen.count("got:") == seen.count("expected:") == seen.count("fix:") == 3


def test_a_failed_check_leaves_an_environment_of_the_other_stack_alone(clone):
    clone.setup(VAOPD_HARDWARE="cpu")
    clone.setup(expect=1, DRIVER="570.86")
    assert clone.stamp.read_text().startswith("hardware=cpu\n")


def test_an_old_driver_with_cuda_13s_libcuda_passes(clone):
    clone.setup(DRIVER="570.86", DRIVER_CUDA="13.0")


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"TOOLKIT": "12.8"}, "CUDA 12.8"),
        ({"CAPABILITIES": "7.5"}, "compute capability 7.5"),
        ({"UV_FAILS_AT": "/flash-attn.txt"}, "cause: made to fail"),
        ({"VAOPD_ATTENTION": "sdpa"}, ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_sdpa_where_flash_attn_cannot_be_compiled_or_is_not_wanted(clone, variables, reason):
    seen = clone.setup(**variables)
    assert reason in seen and ("attention=sdpa" in seen) == bool(reason)
    assert attention(clone) == "sdpa"
    assert any("pip sync" in call and "requirements/gpu.txt" not in call for call in clone.calls())
    assert clone.setup() == ""
    change_lock(clone)
    clone.setup()
    assert attention(clone) == "sdpa" and not compiled(clone), "it stays until asked for"
    clone.setup(**FORCED)
    assert attention(clone) == "flash_attention_2" and compiled(clone)


def test_a_compilation_that_fails_is_an_error_where_flash_attn_is_asked_for(clone):
    seen = clone.setup(expect=1, UV_FAILS_AT="/flash-attn.txt", **FORCED)
    assert "made to fail" in seen and "MAX_JOBS" in seen


def test_flash_attn_is_compiled_again_for_another_torch_or_gpu_alone(clone):
    clone.setup()
    clone.calls()
    change_lock(clone)
    clone.setup()
    assert not compiled(clone)
    change_lock(clone, "torch==2.11.0", "torch==2.12.0", "requirements/gpu.txt")
    clone.setup()
    assert compiled(clone)
    change_lock(clone, "# version 2", "# version 3")
    clone.setup(CAPABILITIES="9.0")
    assert compiled(clone)


def test_a_node_without_gpu_keeps_the_gpu_stack_and_its_flash_attn(clone):
    clone.setup()
    clone.calls()
    clone.without_gpu()
    assert clone.setup() == ""
    change_lock(clone)
    assert "driver is not checked" in clone.setup(CUDA_HOME="/missing/cuda")
    assert attention(clone) == "flash_attention_2" and not compiled(clone)


def test_without_gpu_the_architecture_must_be_named(clone):
    clone.without_gpu()
    assert "FLASH_ATTN_CUDA_ARCHS" in clone.setup(expect=1, VAOPD_HARDWARE="gpu", **FORCED)
    clone.setup(VAOPD_HARDWARE="gpu", FLASH_ATTN_CUDA_ARCHS="90", **FORCED)
    assert "FLASH_ATTN_CUDA_ARCHS=90" in (clone.fakes / "seen-environment").read_text()


def test_the_checks_are_for_the_cuda_of_the_lock():
    checks = (ROOT / "launch/gpu_checks.sh").read_text()
    (major,) = re.findall(r"^CUDA_MAJOR=(\d+)", checks, flags=re.MULTILINE)
    lock = (ROOT / "requirements/gpu.txt").read_text()
    assert re.findall(r"^cuda-toolkit==(\d+)\.", lock, flags=re.MULTILINE) == [major]
