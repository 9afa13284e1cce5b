"""Every check of the running models, passed and failed, on tensors."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path

import pytest
import torch

from verl_vaopd.config.preflight import RUNNING, Finding, PreflightError
from verl_vaopd.trainer import preflight

NUM_ROLLOUTS, NUM_TOKENS, VOCAB = 4, 6, 1000
UNIFORM = -math.log(VOCAB)
SEEN = torch.tensor([True, True, True, False])


@pytest.fixture
def mask() -> torch.Tensor:
    mask = torch.ones(NUM_ROLLOUTS, NUM_TOKENS, dtype=torch.int64)
    mask[1, 3:] = 0
    return mask


@pytest.fixture
def log_probs(mask: torch.Tensor) -> torch.Tensor:
    """Padding is NaN: it must not count."""
    values = -3 * torch.rand(mask.shape, generator=torch.Generator().manual_seed(0))
    return torch.where(mask.bool(), values, math.nan)


def shifted(values: torch.Tensor, by: float, row: int = 0) -> torch.Tensor:
    changed = values.clone()
    changed[row, 0] += by
    return changed


def test_a_teacher_that_ignores_images(log_probs, mask):
    sees = preflight.teacher_sees_images(log_probs, shifted(log_probs, -0.5), mask, SEEN)
    assert sees.passed and "0.0333 nats per token" in sees.measured
    assert not preflight.teacher_sees_images(log_probs, log_probs, mask, SEEN).passed
    # What changes for a prompt of text alone is no sight.
    assert not preflight.teacher_sees_images(log_probs, shifted(log_probs, -5, row=3), mask, SEEN).passed
    assert preflight.teacher_sees_images(log_probs, log_probs, mask, ~SEEN & False).outcome(()) == "skipped"


def test_a_visual_advantage_of_zero(mask):
    advantage = torch.zeros(mask.shape)
    assert not preflight.visual_advantage(advantage, mask, SEEN).passed
    assert not preflight.visual_advantage(shifted(advantage, 1.0, row=3), mask, SEEN).passed
    assert preflight.visual_advantage(shifted(advantage, 1.0), mask, SEEN).passed
    assert preflight.visual_advantage(advantage, mask, SEEN & False).outcome(()) == "skipped"


def test_equal_views_that_are_not(log_probs, mask):
    assert preflight.equal_views(log_probs, log_probs.clone(), mask).passed
    assert not preflight.equal_views(log_probs, shifted(log_probs, 1e-6), mask).passed


def test_a_teacher_with_the_uniform_distribution(log_probs, mask):
    sure = torch.full(mask.shape, 0.5)
    assert preflight.teacher_alive(log_probs, mask, VOCAB, sure).passed
    rounding = 0.02 * torch.randn(mask.shape, generator=torch.Generator().manual_seed(1))
    uniform = torch.full(mask.shape, UNIFORM) + rounding
    assert not preflight.teacher_alive(uniform, mask, VOCAB).passed
    assert not preflight.teacher_alive(log_probs, mask, VOCAB, torch.full(mask.shape, -UNIFORM)).passed
    assert not preflight.teacher_alive(torch.full(mask.shape, math.nan), mask, VOCAB).passed
    # Tokens as unlikely as that, on average, but not each: a teacher that disagrees.
    spread = torch.where(torch.arange(NUM_TOKENS) % 2 == 0, UNIFORM - 2.0, UNIFORM + 2.0).expand(mask.shape)
    assert preflight.teacher_alive(spread, mask, VOCAB).passed


def test_fewer_scores_than_tokens():
    assert preflight.teacher_scores([3, 5], [3, 5]).passed
    cut = preflight.teacher_scores([3, 4], [3, 5])
    assert not cut.passed and "7 scores for 8 response tokens; 1 rollouts differ, the first has 4 for 5" in cut.measured


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "auto"])
def test_scores_that_do_not_repeat(log_probs, mask, dtype):
    bound = preflight.REPEAT_GAP.get(dtype, preflight.REPEAT_GAP["bfloat16"])
    assert preflight.teacher_repeats(log_probs, shifted(log_probs, bound / 2), mask, dtype).passed
    assert not preflight.teacher_repeats(log_probs, shifted(log_probs, 2 * bound), mask, dtype).passed
    moved = preflight.teacher_repeats(log_probs, shifted(log_probs, 2 * bound), mask, dtype, frozen=False)
    assert moved.passed and "has moved" in moved.measured


def test_other_log_probs_in_the_rollout_engine(log_probs, mask):
    def of(by: float, **options: float) -> bool:
        return preflight.log_prob_gap(log_probs, log_probs + by, mask, "float32", **options).passed

    assert of(5e-4) and not of(2e-3) and of(2e-3, bound=0.01)
    assert not preflight.log_prob_gap(log_probs, log_probs + 0.2, mask, "bfloat16").passed
    assert not preflight.gap_finding(math.nan, math.nan, "float32").passed


@pytest.mark.parametrize(
    ("num_cut", "outcome"), [(0, "passed"), (4, "passed"), (5, "warning"), (10, "warning"), (11, "failed")]
)
def test_responses_that_do_not_end(num_cut, outcome):
    found = preflight.responses_end(torch.arange(20) < num_cut, warn_frac=0.2, max_frac=0.5, max_length=1024)
    assert found.outcome(()) == outcome
    assert f"{num_cut} of 20 responses are cut at 1024 tokens" in found.measured
    assert "data.max_response_length=2048" in found.fix


def test_a_waiver_takes_the_failure_and_nothing_else():
    failed = Finding("equal_views", "0.1 nats", passed=False, fix="mend it")
    assert failed.outcome(()) == failed.outcome(["log_prob_gap"]) == "failed"
    assert failed.outcome(["equal_views"]) == "waived"
    assert Finding("equal_views", "0 nats").outcome(["equal_views"]) == "passed"


def test_the_error_says_what_was_measured_and_how_to_go_on():
    failed = [Finding("equal_views", "0.1 nats", passed=False, fix="mend it")]
    error = pickle.loads(pickle.dumps(PreflightError("step 3", failed)))
    assert str(error).startswith("preflight, step 3: equal_views: 0.1 nats; mend it. The same command resumes")
    assert "preflight.waive=[equal_views]" in str(error)


def test_every_check_has_its_name_in_the_table_of_the_guide():
    from verl_vaopd.config.checks.preflight import STATIC

    guide = (Path(__file__).parents[2] / "docs" / "user_guide.md").read_text(encoding="utf-8")
    missing = [name for name in (*STATIC, *RUNNING) if f"| `{name}` |" not in guide]
    assert not missing, json.dumps(missing)
