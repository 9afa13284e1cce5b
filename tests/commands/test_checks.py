"""The memory check before a start: by the plan's estimate, against the GPUs that are there."""

import pytest

from verl_vaopd.commands import checks
from verl_vaopd.config import ConfigError, compose
from verl_vaopd.config.preflight import FAILED, PASSED, SKIPPED, WAIVED
from verl_vaopd.platform import Gpu

PAPER = ["hardware=a100x8", "student=2b", "teacher=8b", "dataset=geo3k"]


def outcome(overrides: list[str], gpus: list[Gpu]) -> str:
    cfg = compose(overrides)
    return checks.memory(cfg, lambda: gpus).outcome(cfg.preflight.waive)


def test_the_papers_job_fits_into_80_gb_and_not_into_24() -> None:
    assert outcome(PAPER, [Gpu("NVIDIA A100-SXM4-80GB", 81920)] * 8) == PASSED
    assert outcome(PAPER, [Gpu("NVIDIA A10", 23028)] * 8) == FAILED
    assert outcome(PAPER, []) == SKIPPED
    assert outcome(["hardware=cpu", "student=tiny", "teacher=tiny", "dataset=tinygeo"], []) == SKIPPED


def test_it_is_told_with_what_would_fit_and_can_be_waived() -> None:
    job = ["hardware=h100x1", "student=2b", "teacher=8b", "dataset=geo3k"]
    gpus = [Gpu("NVIDIA A100-PCIE-40GB", 40960)]
    with pytest.raises(ConfigError, match=r"DOES NOT FIT(.|\n)*fix: .*preflight.waive=\[memory\]"):
        checks.require_memory(compose(job), lambda: gpus)
    waived = compose([*job, "preflight.waive=[memory]"])
    assert checks.require_memory(waived, lambda: gpus).outcome(waived.preflight.waive) == WAIVED
