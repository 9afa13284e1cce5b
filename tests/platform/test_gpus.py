"""The GPUs of this machine, as nvidia-smi and CUDA_VISIBLE_DEVICES tell them."""

import stat

import pytest

from verl_vaopd.platform import Gpu, gpus, probe_gpus

A100, H200 = Gpu("NVIDIA A100-SXM4-80GB", 81920), Gpu("NVIDIA H200", 143771)


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
    assert probe_gpus() == [A100, H200]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("", []),
        ("1", [H200]),
        ("1,0", [H200, A100]),
        ("GPU-bb", [H200]),
        ("0,7,1", [A100]),  # CUDA stops at the first device that is none
        ("-1", []),
    ],
)
def test_only_visible_gpus_count(machine, monkeypatch, visible, expected):
    machine(TWO)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert probe_gpus() == expected


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
