"""Which passes a training step makes: those that the method needs, in this order, and none of PPO's others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.utils import need_reference_policy

from verl_vaopd.config import compose
from verl_vaopd.config.objective import Objective
from verl_vaopd.trainer.trainer import DistillationTrainer

TINY = ["hardware=cpu", "dataset=tinygeo", "student=tiny", "teacher=tiny"]
BATCH = KVBatchMeta(partition_id="train", keys=["a_0_0"], tags=[{"response_len": 1}])
OURS = ("_score", "_weigh_tokens", "_update_actor")
VERLS = (
    "_balance_batch",
    "_compute_reward_colocate",
    "_compute_old_log_prob",
    "_compute_ref_log_prob",
    "_compute_values",
    "_compute_advantage",
)
PASSES = {
    "vaopd": ["_balance_batch", "_score", "_weigh_tokens", "_update_actor"],
    "opd": ["_balance_batch", "_score", "_weigh_tokens", "_update_actor"],
    "cot_sft": ["_balance_batch", "_weigh_tokens", "_update_actor"],
    "grpo": ["_balance_batch", "_compute_advantage", "_update_actor"],
    "grpo method.degraded_view=true": [  # to monitor visual advantage
        "_balance_batch",
        "_score",
        "_weigh_tokens",
        "_compute_advantage",
        "_update_actor",
    ],
    "papo": ["_balance_batch", "score_reference", "_compute_advantage", "_update_actor"],
}


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
    trainer.use_reference_policy = need_reference_policy(trainer.config)
    trainer.replay_buffer = trainer.ref_policy_wg = Workers(passes)
    trainer.on_sample_end = lambda: None
    for name in (*OURS, *VERLS):
        # Refuses a name that the trainer does not have.
        monkeypatch.setattr(trainer, name, lambda *_, _name=name, **__: passes.append(_name) or BATCH)
    assert trainer._step_once({}, {}, sample_batch_size=1) is BATCH
    assert passes == PASSES[method]


def test_a_method_that_does_not_distil_keeps_what_it_monitors(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"visual_advantage": torch.ones(1, 1), "high_group": torch.ones(1, 1, dtype=torch.bool)}
    monkeypatch.setattr("verl_vaopd.trainer.trainer.advantage_and_group", lambda batch, options: found)
    trainer = trainer_of("grpo method.degraded_view=true")
    trainer._weigh_tokens(BATCH)
    assert trainer.scores is found
