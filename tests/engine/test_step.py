"""Which passes a training step makes: those that the method needs, in this order, and none of PPO's others."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.utils import need_reference_policy

from verl_vaopd.algorithms.measuring import Measuring
from verl_vaopd.config import compose
from verl_vaopd.config.objective import Objective
from verl_vaopd.runs import events
from verl_vaopd.runs.events import EventLog
from verl_vaopd.trainer import rows
from verl_vaopd.trainer.trainer import DistillationTrainer

TINY = ["hardware=cpu", "dataset=tinygeo", "student=tiny", "teacher=tiny"]
BATCH = KVBatchMeta(partition_id="train", keys=["a_0_0"], tags=[{"response_len": 1}])
OURS = ("_score", "_measure", "_weigh_tokens", "_update_actor")
VERLS = (
    "_balance_batch",
    "_compute_reward_colocate",
    "_compute_old_log_prob",
    "_compute_ref_log_prob",
    "_compute_values",
    "_compute_advantage",
)
PASSES = {
    "vaopd": ["_balance_batch", "_score", "_measure", "of_scores", "_weigh_tokens", "_update_actor"],
    "opd": ["_balance_batch", "_score", "of_scores", "_weigh_tokens", "_update_actor"],
    "opd method.degraded_view=true": [
        *("_balance_batch", "_score", "_measure", "of_scores", "_weigh_tokens", "_update_actor")
    ],
    "cot_sft": ["_balance_batch", "_weigh_tokens", "_update_actor"],
    "grpo": ["_balance_batch", "_compute_advantage", "_update_actor"],
    "grpo method.degraded_view=true": [  # to monitor visual advantage
        *("_balance_batch", "_score", "_measure", "of_scores", "_compute_advantage", "_update_actor")
    ],
    "papo": ["_balance_batch", "score_reference", "_compute_advantage", "_update_actor"],
}
"""Each ends with `after_update`."""


class Workers:
    """Stands for the replay buffer and the worker group of the initial policy."""

    def __init__(self, passes: list[str]):
        self.passes = passes

    def sample(self, **request: Any) -> tuple[KVBatchMeta, dict[str, Any]]:
        return BATCH, {}

    def score_reference(self, request: KVBatchMeta) -> None:
        self.passes.append("score_reference")


def trainer_of(method: str) -> DistillationTrainer:
    config = compose([*TINY, *f"method={method}".split()])
    trainer = object.__new__(DistillationTrainer)
    trainer.config, trainer.objective, trainer.global_steps = config, Objective.from_config(config), 1
    return trainer


@pytest.mark.parametrize("method", PASSES)
def test_passes_of_a_step(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[str] = []
    trainer = trainer_of(method)
    trainer.teacher, trainer.events = SimpleNamespace(forward_fields=lambda scored: []), None  # nothing to tell
    trainer.use_reference_policy = need_reference_policy(trainer.config)
    trainer.replay_buffer = trainer.ref_policy_wg = Workers(passes)
    trainer.on_sample_end = lambda: None
    trainer.preflight = SimpleNamespace(
        of_scores=lambda *_: passes.append("of_scores"), after_update=lambda: passes.append("after_update")
    )
    # 1 of 4 arrives, as if 3 were not stored.
    trainer.agent_loop_manager = SimpleNamespace(take_failures=Counter, take_unscored=Counter)
    for name in (*OURS, *VERLS):
        # Refuses a name that the trainer does not have.
        monkeypatch.setattr(trainer, name, lambda *_, _name=name, **__: passes.append(_name) or BATCH)
    assert trainer._step_once({}, {}, sample_batch_size=1) is BATCH
    assert passes == [*PASSES[method], "after_update"]


def test_a_step_of_which_too_many_rollouts_fail_ends_the_run(tmp_path: Path) -> None:
    """31 of 32 arrive, then 28, of which one fails for another reason."""
    trainer = trainer_of("vaopd")
    failures = [Counter({"ValueError: no rule": 1}), Counter({"ValueError: no rule": 3, "KeyError: 'x'": 1})]
    trainer.agent_loop_manager = SimpleNamespace(take_failures=lambda: failures.pop(0))
    with EventLog(tmp_path / "events.jsonl") as trainer.events:
        for arrived in (32, 31):
            trainer._require_few_failures(["row"] * arrived, num_prompts=8)
        assert trainer.num_dropped_rollouts == 1
        with pytest.raises(RuntimeError, match="step 1: 4 of 32 rollouts failed, 3 of them by ValueError: no rule"):
            trainer._require_few_failures(["row"] * 28, num_prompts=8)
    warned = "step 1: 1 of 32 rollouts failed, 1 of them by ValueError: no rule"
    assert [event["text"] for event in events.read(tmp_path / "events.jsonl")] == [warned]


def test_answers_that_could_not_be_scored_are_counted_and_told(tmp_path: Path) -> None:
    trainer = trainer_of("grpo")
    unscored = [Counter({"it took more than 5 s": 2, "it took more than 1024 MB": 1}), Counter()]
    trainer.agent_loop_manager = SimpleNamespace(take_unscored=lambda: unscored.pop(0))
    with EventLog(tmp_path / "events.jsonl") as trainer.events:
        for number in (3, 0):
            trainer._count_unscored()
            assert trainer.num_unscored_rewards == number
    (event,) = events.read(tmp_path / "events.jsonl")
    assert event["text"].startswith("step 1: 3 answers could not be scored and count as wrong; of 2 of them: it took")


def test_what_was_measured_is_reported_though_later_passes_overwrite_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a gap of divergences the update leaves its own reverse KL in the queue: only what is new is fetched."""
    ids = {"prompts": [[7, 7]], "responses": [[8, 5]], "response_mask": [[1, 1]], "rm_scores": [[0.0, 1.0]]}
    stored: dict[str, Any] = {name: torch.tensor(value) for name, value in ids.items()} | {"index": ["q"]}
    fetched: list[list[str]] = []

    def fetch(batch: KVBatchMeta, names: list[str]) -> dict[str, Any]:
        fetched.append(list(names))
        return {name: stored[name] for name in names}

    monkeypatch.setattr(rows, "fetch", fetch)
    trainer = object.__new__(DistillationTrainer)
    trainer.objective = Objective(measures_advantage=True, measuring=Measuring(advantage="divergence_gap"))
    trainer.eos_token_ids, trainer.rollouts = [5], None
    batch = KVBatchMeta(partition_id="train", keys=["a_0_0"], tags=[{"response_len": 2, "seq_len": 4}])
    stored |= {"reverse_kl": torch.tensor([[0.5, 0.5]]), "degraded_reverse_kl": torch.tensor([[0.5, 1.5]])}
    trainer._measure(batch)
    stored |= {"reverse_kl": torch.zeros(1, 2), "student_entropy": torch.ones(1, 2)}
    rollouts = trainer._load_rollouts(batch, ["reverse_kl", "student_entropy"])
    assert fetched == [[*ids, "index", "degraded_reverse_kl", "reverse_kl"], ["student_entropy"]]
    assert rollouts.per_token["visual_advantage"].tolist() == [[0.0, 1.0]]
    assert rollouts.per_token["reverse_kl"].tolist() == [[0.5, 0.5]]
    assert rollouts.uid == ["a"] and not rollouts.truncated and rollouts.num_tokens == 4
