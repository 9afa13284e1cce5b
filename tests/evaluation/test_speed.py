"""Rates and shares of idle time."""

from __future__ import annotations

import json
import time

import pytest

from verl_vaopd.evaluation.sources.occupancy import Occupancy
from verl_vaopd.evaluation.sources.source import Response
from verl_vaopd.evaluation.speed import GpuIdle, Speed


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """nvidia_smi(texts): a program that says one after the other, and notes what it was asked."""

    def build(*texts):
        for number, text in enumerate(texts):
            (tmp_path / f"{number}.txt").write_text(text)
        program = tmp_path / "nvidia-smi"
        program.write_text(
            f'#!/bin/sh\ncd {tmp_path}\necho "$@" >> asked\nnumber=$(($(wc -l < asked) - 1))\n'
            "if [ -e $number.txt ]; then cat $number.txt; else exit 9; fi\n"
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return build


def watch(directory, num_gpus, times):
    """GpuIdle, left after nvidia-smi was asked more often than this."""
    asked = directory / "asked"
    deadline = time.monotonic() + 60
    with GpuIdle(num_gpus, period=0.01) as gpus:
        while not asked.exists() or len(asked.read_text().splitlines()) <= times:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    return gpus


@pytest.mark.parametrize(("visible", "asked"), [(None, "0,1"), ("5,GPU-a,7", "5,GPU-a")])
def test_gpus_are_asked_while_it_lasts(nvidia_smi, tmp_path, monkeypatch, visible, asked):
    """Two GPUs, twice: busy 100, 40, 80 and 60 per cent. After that nvidia-smi fails, which changes nothing."""
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    nvidia_smi("100\n40\n", "80\n60\n")
    gpus = watch(tmp_path, 2, times=2)
    assert gpus.idle_frac == pytest.approx(0.3)
    words = (tmp_path / "asked").read_text().splitlines()[0].split()
    assert f"--id={asked}" in words and "--query-gpu=utilization.gpu" in words
    num_asked = len((tmp_path / "asked").read_text())
    time.sleep(0.1)
    assert len((tmp_path / "asked").read_text()) == num_asked


def test_what_nvidia_smi_does_not_know_is_not_measured(nvidia_smi, tmp_path):
    """A GPU that is cut in parts, and one that is not."""
    nvidia_smi("[N/A]\n40\n")
    assert watch(tmp_path, 2, times=1).idle_frac == pytest.approx(0.6)


def test_without_gpus_nothing_is_asked(nvidia_smi, tmp_path):
    nvidia_smi("50\n")
    with GpuIdle(0, period=0.01) as gpus:
        time.sleep(0.1)
    assert gpus.idle_frac is None and not (tmp_path / "asked").exists()


def responses(*num_tokens):
    return [Response("custom", "q", sample, sample, "text", num_tokens=num) for sample, num in enumerate(num_tokens)]


def test_every_process_adds_a_line(tmp_path):
    path, occupancy = tmp_path / "speed.jsonl", Occupancy(4, clock=iter([0.0, 1.0, 4.0]).__next__)
    for num_unfinished in (0, 4, 0):
        occupancy.note(num_unfinished)
    with Speed(path, occupancy, num_gpus=0) as speed:
        speed.add(responses(10, 20))
        speed.add(responses(None, 30))
        time.sleep(0.02)
    with pytest.raises(RuntimeError), Speed(path, Occupancy(4), num_gpus=0) as other:
        other.add(responses(None))
        raise RuntimeError("interrupted")
    first, second = map(json.loads, path.read_text().splitlines())
    assert (first["num_responses"], first["num_tokens"]) == (4, 60) and first["seconds"] >= 0.02
    assert first["tokens_per_second"] == pytest.approx(60 / first["seconds"])
    assert (first["engine_idle_frac"], first["engine_full_frac"]) == (0.25, 0.75)
    assert first["gpu_idle_frac"] is None
    assert f"{speed.rate()}; engine idle 25.0 %, its places in use 75.0 %, GPU idle not measured" in str(speed)
    assert second["num_responses"] == 1 and second["num_tokens"] is second["tokens_per_second"] is None


def test_responses_that_were_not_sampled_have_no_speed(tmp_path):
    with Speed(tmp_path / "speed.jsonl", None, num_gpus=0) as speed:
        speed.add(responses(10))
    assert not (tmp_path / "speed.jsonl").exists()
