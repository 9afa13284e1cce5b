"""What a launch tells of its checks, and what ends it: findings that pass are told once, failures stop the run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.trainer.some_rollouts import some_rollouts
from verl_vaopd.config import compose
from verl_vaopd.config.preflight import PreflightError
from verl_vaopd.runs import events
from verl_vaopd.runs.events import EventLog
from verl_vaopd.trainer.preflight_run import GAP_METRICS, Preflight

TINY = ["hardware=cpu", "dataset=tinygeo", "student=tiny", "teacher=tiny"]
SOUND = dict.fromkeys(GAP_METRICS, 1e-6)
IMAGE_TOKEN, VOCAB = 7, 1000


@pytest.fixture
def launch(tmp_path: Path):
    """launch(*overrides): the checks of a launch whose models are never asked, and what it has told so far."""
    logs = []

    def make(*overrides: str) -> tuple[Preflight, Any]:
        log = EventLog(tmp_path / "events.jsonl")
        logs.append(log)
        checks = Preflight(
            validation=SimpleNamespace(config=compose([*TINY, *overrides])),
            prompts=[],
            vocab_size=VOCAB,
            image_token_id=IMAGE_TOKEN,
            events=log,
        )
        return checks, lambda: [(e["when"], e["check"], e["outcome"]) for e in events.read(log.path)]

    yield make
    for log in logs:
        log.close()


def rollouts_of(num_cut: int = 0, **per_token: torch.Tensor):
    mask = torch.ones(4, 5, dtype=torch.int64)
    prompts = torch.tensor([[1, IMAGE_TOKEN, 2]] * 4)
    return some_rollouts(mask, list("aabb"), prompts=prompts, truncated=torch.arange(4) < num_cut, **per_token)


def of_scores(checks: Preflight, monkeypatch: pytest.MonkeyPatch, num_scores: int = 5, **per_token: torch.Tensor):
    monkeypatch.setattr("verl_vaopd.trainer.rows.lengths", lambda batch, name: [num_scores] * 4)
    batch = SimpleNamespace(tags=[{"response_len": 5}] * 4)
    return checks.of_scores(3, batch, lambda names: rollouts_of(**per_token))


ALIVE = -torch.rand(4, 5, generator=torch.Generator().manual_seed(0))


def test_the_first_two_steps_are_told_and_later_ones_only_fail(launch):
    checks, told = launch()
    for step in (5, 6, 7):
        checks.of_step(step, rollouts_of(), SOUND)
    passed = [("step 5", "log_prob_gap", "passed"), ("step 5", "responses_end", "passed")]
    assert told() == [*passed, ("step 6", "log_prob_gap", "passed")]
    with pytest.raises(PreflightError, match=r"^preflight, step 8: log_prob_gap: .* differ by 0.5 nats per token"):
        checks.of_step(8, rollouts_of(), dict.fromkeys(GAP_METRICS, 0.5))
    assert told()[3:] == [("step 8", "log_prob_gap", "failed")]


def test_a_waived_failure_is_told_once(launch):
    checks, told = launch("preflight.waive=[log_prob_gap]")
    for step in range(1, 6):
        checks.of_step(step, rollouts_of(), SOUND if step < 4 else dict.fromkeys(GAP_METRICS, 0.5))
    assert [each for each in told() if each[2] == "waived"] == [("step 4", "log_prob_gap", "waived")]


def test_stored_responses_have_no_gap_and_a_first_batch_may_not_be_cut(launch):
    checks, told = launch()
    with pytest.raises(PreflightError, match="responses_end: 3 of 4 responses are cut at 256 tokens"):
        checks.of_step(1, rollouts_of(num_cut=3), {})
    assert told() == [("step 1", "responses_end", "failed")]


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        ({"teacher_log_probs": torch.full((4, 5), -6.9078)}, "teacher_alive"),
        ({"visual_advantage": torch.zeros(4, 5)}, "visual_advantage"),
        ({"num_scores": 4}, "teacher_scores"),
    ],
)
def test_a_step_whose_teacher_is_dead_ends_the_run_before_its_update(launch, monkeypatch, broken, check):
    checks, told = launch()
    sound = {"teacher_log_probs": ALIVE, "visual_advantage": ALIVE.abs()}
    of_scores(checks, monkeypatch, **sound)
    assert told() == []
    with pytest.raises(PreflightError, match=f"^preflight, step 3: {check}: "):
        of_scores(checks, monkeypatch, **{**sound, **broken})
    assert told() == [("step 3", check, "failed")]
