"""One pass over held-out questions: who is called in which order, and what becomes of a rollout that failed."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transfer_queue as tq
from omegaconf import OmegaConf
from transfer_queue import KVBatchMeta

from verl_vaopd.algorithms.divergences import ReverseKL
from verl_vaopd.algorithms.measuring import Measuring
from verl_vaopd.config.objective import Objective
from verl_vaopd.runs.validation_samples import SCHEMA
from verl_vaopd.trainer import validation as validation_module
from verl_vaopd.trainer.placement import TeacherGroup
from verl_vaopd.trainer.validation import FAILED, Validation

SPLITS = ["validation", "test_ood", "validation"]
CONFIG = {
    "run": {"seed": 0},
    "validation": {"entropy": False, "splits": ["validation", "test_ood"]},
    "dump": {"num_heldout_prompts": 8},
    "actor_rollout_ref": {"rollout": {"val_kwargs": {"n": 2}}},
}
CLEAN, DEGRADED = -0.25, -1.0


class Workplace:
    """The trainer's other parts, the tokenizer and the queue between them; every call is noted.

    Two answers of three tokens to each question, all of them \\boxed{5}; the very last one fails. Those to the first
    question are right.
    """

    world_size, eos_token_id = 2, 9

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.calls: list[Any] = []
        self.queue: dict[str, dict[str, Any]] = {}
        monkeypatch.setattr(tq, "kv_batch_put", lambda keys, partition_id, tags: self.calls.append("ask"))
        monkeypatch.setattr(tq, "kv_batch_get", self.get)
        monkeypatch.setattr(tq, "kv_clear", self.clear)
        monkeypatch.setattr(validation_module, "upsample_batch_to_divisible_size", self.pad)

    def get(self, keys: list[str], partition_id: str, select_fields: list[str]) -> dict[str, Any]:
        found = {name: [self.queue[key][name] for key in keys] for name in select_fields}
        return {name: torch.stack(v) if isinstance(v[0], torch.Tensor) else v for name, v in found.items()}

    def clear(self, keys: list[str], partition_id: str) -> None:
        self.calls.append(f"clear {len(keys)}")
        for key in keys:
            del self.queue[key]

    def pad(self, batch: KVBatchMeta, multiple: int, eos_token_id: int) -> KVBatchMeta:
        added = [f"padding{len(self.queue)}_{number}_0" for number in range(-len(batch) % multiple)]
        self.queue |= {key: {} for key in added}
        tags = [*batch.tags, *({"is_padding": True, "response_len": 1} for _ in added)]
        return KVBatchMeta(partition_id="val", keys=[*batch.keys, *added], tags=tags)

    def generate_sequences(self, asked: Any) -> None:
        self.calls.append("generate")
        self.uids = list(asked["uid"])

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[KVBatchMeta, dict[str, Any]]:
        keys = [f"{uid}_{number}_0" for uid in self.uids for number in range(2)][:-1]
        for key in keys:
            place = self.uids.index(key.split("_")[0])
            self.queue[key] = {
                "prompts": torch.tensor([7]),
                "responses": torch.tensor([4, 5, self.eos_token_id]),
                "response_mask": torch.ones(3, dtype=torch.int64),
                "rm_scores": torch.tensor([0.0, 0.0, float(place == 0)]),
                "index": place,
                "rollout_log_probs": torch.zeros(3),
            }
        return KVBatchMeta(partition_id="val", keys=keys, tags=[{"response_len": 3, "seq_len": 4} for _ in keys]), {}

    def score(self, request: KVBatchMeta) -> None:
        self.calls.append(("score", len(request), *(name for name, asked in request.extra_info.items() if asked)))
        for key in request.keys:
            self.queue[key]["teacher_log_probs"] = torch.full((3,), CLEAN)
            self.queue[key]["degraded_teacher_log_probs"] = torch.full((3,), DEGRADED)

    def forward_tokens(self, request: KVBatchMeta) -> None:
        self.calls.append(("forward", len(request)))
        outputs = ("student_log_probs", "student_entropy", "reverse_kl", "teacher_entropy", "degraded_reverse_kl")
        for key in request.keys:
            self.queue[key] |= {name: torch.full((3,), 0.5) for name in outputs}

    def sleep_replicas(self) -> None:
        self.calls.append("sleep")

    def update_weights(self, global_steps: int) -> None:
        self.calls.append(f"weights of step {global_steps}")

    def decode(self, ids: torch.Tensor, **options: Any) -> str:
        assert ids.tolist() == [4, 5, self.eos_token_id]
        return r"\boxed{5}"


def validation_of(workplace: Workplace, objective: Objective, **options: Any) -> Validation:
    teacher = object.__new__(TeacherGroup)
    teacher.colocated, teacher.objective, teacher.group = True, objective, workplace
    prompts = {
        "raw_prompt": np.array(["find AB"] * len(SPLITS), dtype=object),
        "index": np.arange(len(SPLITS)),
        "split": np.array(SPLITS, dtype=object),
    }
    parts = ("agent_loops", "replay_buffer", "checkpoint_manager", "student_group", "tokenizer")
    return Validation(
        questions=[prompts],
        **dict.fromkeys(parts, workplace),
        teacher=teacher,
        eos_token_ids=[9],
        objective=objective,
        config=OmegaConf.merge(CONFIG, {"validation": options}),
    )


@pytest.fixture
def workplace(monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """Token-level rows are looked at before they become text."""
    dump_rows = lambda rollouts, chosen, tokenizer: [SimpleNamespace(rollouts=rollouts, chosen=chosen)]  # noqa: E731
    monkeypatch.setattr(validation_module, "dump_rows", dump_rows)
    return Workplace(monkeypatch)


@pytest.mark.parametrize("advantage", ["sampled", "divergence_gap"])
@pytest.mark.parametrize("entropy", [False, True])
def test_the_order_of_calls(workplace: Workplace, advantage: str, entropy: bool) -> None:
    """Five of six rollouts and a row of padding; three of them are dumped, those of the first split."""
    objective = Objective(ReverseKL(), measuring=Measuring(advantage=advantage))
    found = validation_of(workplace, objective, entropy=entropy).run(4)
    kept = ["keep_hidden_states", *(["keep_degraded_hidden_states"] if advantage == "divergence_gap" else [])]
    assert workplace.calls == [
        *("ask", "generate", "sleep"),
        ("score", 6, "degraded_view"),
        *([("forward", 6)] if entropy else []),
        ("score", 4, "degraded_view", *kept),
        ("forward", 4),
        *("clear 1", "clear 6", "weights of step 4"),
    ]
    assert not workplace.queue
    [dumped] = found.token_rows
    assert dumped.chosen == ["0", "2"] and dumped.rollouts.question_id == ["0", "0", "2"]
    assert {"token_weights", "high_group", "reverse_kl", "rollout_log_probs"} <= dumped.rollouts.per_token.keys()


def test_a_failed_rollout_is_missing_and_not_wrong(workplace: Workplace) -> None:
    found = validation_of(workplace, Objective()).run(4)
    asked = [(sample["question_id"], sample["sample"]) for sample in found.samples]
    assert asked == [(str(question), number) for question in range(3) for number in range(2)]
    assert all(sample.keys() == set(SCHEMA.names) for sample in found.samples)
    first, last = found.samples[0], found.samples[-1]
    assert (first["accuracy"], first["num_tokens"], first["truncated"], first["answer"]) == (1.0, 3, False, "5")
    assert first["mean_va"] == pytest.approx(CLEAN - DEGRADED) and math.isnan(first["entropy"])
    assert repr({name: last[name] for name in FAILED}) == repr(FAILED)
    assert list(found.summaries) == ["validation", "test_ood"]
    assert found.summaries["validation"]["n_missing"] == 1 and found.summaries["validation"]["accuracy"] == 0.5
    assert "token_weights" not in found.token_rows[0].rollouts.per_token, "this objective does not distil"


def test_entropy_is_a_mean_over_tokens(workplace: Workplace) -> None:
    found = validation_of(workplace, Objective(), entropy=True).run(4)
    assert [sample["entropy"] for sample in found.samples[:-1]] == [0.5] * 5
