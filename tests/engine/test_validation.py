"""One pass over held-out questions: who is called in which order, what becomes of a rollout that failed, and that all
is the same in several batches.
"""

import math
from collections import Counter
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
from verl_vaopd.algorithms.weightings.masked import Masked
from verl_vaopd.algorithms.weightings.visual_advantage import VisualAdvantage
from verl_vaopd.algorithms.weightings.weighting import Weighting
from verl_vaopd.config.objective import Objective
from verl_vaopd.engine.nested import nest
from verl_vaopd.runs.validation_samples import SCHEMA
from verl_vaopd.trainer import validation as validation_module
from verl_vaopd.trainer.placement import TeacherGroup
from verl_vaopd.trainer.validation import FAILED, Validated, Validation

SPLITS = ["validation", "test_ood", "validation"]
CONFIG = {
    "run": {"seed": 0, "max_dropped_frac": 0.2},
    "validation": {"entropy": False, "splits": ["validation", "test_ood"]},
    "actor_rollout_ref": {"rollout": {"val_kwargs": {"n": 2}}},
}
CLEAN, DEGRADED = -0.25, -1.0


class Workplace:
    """The trainer's other parts, the tokenizer and the queue between them; every call is noted.

    Two answers to each question, all of them \\boxed{5}, of three tokens and as many more as the question's number; the
    very last one fails. Those to the first question are right. They arrive in another order than they were asked for.
    """

    world_size, eos_token_id = 2, 9

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.calls: list[Any] = []
        self.failed = {(len(SPLITS) - 1, 1)}
        self.unscored: Counter[str] = Counter()
        self.queue: dict[str, dict[str, Any]] = {}
        monkeypatch.setattr(tq, "kv_batch_put", lambda keys, partition_id, tags: self.calls.append("ask"))
        monkeypatch.setattr(tq, "kv_batch_get", self.get)
        monkeypatch.setattr(tq, "kv_clear", self.clear)
        monkeypatch.setattr(validation_module, "upsample_batch_to_divisible_size", self.pad)

    def get(self, keys: list[str], partition_id: str, select_fields: list[str]) -> dict[str, Any]:
        found = {name: [self.queue[key][name] for key in keys] for name in select_fields}
        return {name: nest(v) if isinstance(v[0], torch.Tensor) else v for name, v in found.items()}

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
        self.index = {uid: int(index) for uid, index in zip(asked["uid"], asked["index"], strict=True)}

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[KVBatchMeta, dict[str, Any]]:
        tags: dict[str, dict[str, int]] = {}
        for uid, index in reversed(self.index.items()):
            length = 3 + index
            for number in (1, 0):
                if (index, number) in self.failed:
                    continue
                tags[f"{uid}_{number}_0"] = {"response_len": length, "seq_len": length + 1}
                self.queue[f"{uid}_{number}_0"] = {
                    "prompts": torch.tensor([7] * (1 + index)),
                    "responses": torch.tensor([*range(length - 1), self.eos_token_id]),
                    "response_mask": torch.ones(length, dtype=torch.int64),
                    "rm_scores": torch.tensor([float(index == 0)] + [0.0] * (length - 1)),
                    "index": index,
                    "rollout_log_probs": torch.zeros(length),
                }
        return KVBatchMeta(partition_id="val", keys=list(tags), tags=list(tags.values())), {}

    def take_failures(self) -> Counter[str]:
        return Counter({"ValueError: no such rule": 1})

    def take_unscored(self) -> Counter[str]:
        return self.unscored

    def score(self, request: KVBatchMeta) -> None:
        self.calls.append(("score", len(request), *(name for name, asked in request.extra_info.items() if asked)))
        for key in request.keys:
            ones = self.ones(key)
            self.queue[key] |= {"teacher_log_probs": CLEAN * ones, "degraded_teacher_log_probs": DEGRADED * ones}

    def forward_tokens(self, request: KVBatchMeta) -> None:
        self.calls.append(("forward", len(request)))
        outputs = ("student_log_probs", "student_entropy", "reverse_kl", "teacher_entropy", "degraded_reverse_kl")
        for key in request.keys:
            self.queue[key] |= {name: 0.5 * self.ones(key) for name in outputs}

    def ones(self, key: str) -> torch.Tensor:
        """One number per token; rows of padding have one token."""
        return torch.ones_like(self.queue[key].get("rollout_log_probs", torch.ones(1)))

    def sleep_replicas(self) -> None:
        self.calls.append("sleep")

    def update_weights(self, global_steps: int) -> None:
        self.calls.append(f"weights of step {global_steps}")

    def decode(self, ids: torch.Tensor, **options: Any) -> str:
        assert ids.tolist() == [*range(len(ids) - 1), self.eos_token_id]
        return r"\boxed{5}"


def validation_of(workplace: Workplace, objective: Objective, size: int = len(SPLITS), **options: Any) -> Validation:
    """With all questions in one batch, or so many in each."""
    teacher = object.__new__(TeacherGroup)
    teacher.colocated, teacher.objective, teacher.group = True, objective, workplace
    prompts = {
        "raw_prompt": np.array(["find AB"] * len(SPLITS), dtype=object),
        "index": np.arange(len(SPLITS)),
        "split": np.array(SPLITS, dtype=object),
    }
    starts = range(0, len(SPLITS), size)
    parts = ("agent_loops", "replay_buffer", "checkpoint_manager", "student_group", "tokenizer")
    return Validation(
        questions=[{name: values[start : start + size] for name, values in prompts.items()} for start in starts],
        **dict.fromkeys(parts, workplace),
        teacher=teacher,
        eos_token_ids=[9],
        objective=objective,
        config=OmegaConf.merge(CONFIG, {"validation": options}),
        dumped_questions=["0", "2"],
        report=lambda done: workplace.calls.append(f"{done} done"),
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
        *("clear 1", "clear 6", "weights of step 4", "3 done"),
    ]
    assert not workplace.queue
    [dumped] = found.token_rows
    assert dumped.chosen == ["0", "2"] and dumped.rollouts.question_id == ["0", "0", "2"]
    assert {"token_weights", "high_group", "reverse_kl", "rollout_log_probs"} <= dumped.rollouts.per_token.keys()


@pytest.mark.parametrize("size", [3, 2, 1])
def test_a_failed_rollout_is_missing_and_not_wrong(workplace: Workplace, size: int) -> None:
    found = validation_of(workplace, Objective(), size).run(4)
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


def test_failures_are_told_and_too_many_end_the_run(workplace: Workplace) -> None:
    found = validation_of(workplace, Objective()).run(4)
    told = "validation at step 4: 1 of 6 rollouts failed, 1 of them by ValueError: no such rule"
    assert found.failures == [told]
    workplace.unscored["it took more than 5 s"] = 1
    failed, unscored = validation_of(workplace, Objective()).run(4).failures
    assert failed == told and unscored.startswith("validation at step 4: 1 answers could not be scored")
    strict = validation_of(workplace, Objective())
    strict.config.run.max_dropped_frac = 0.1
    with pytest.raises(RuntimeError, match=f"{told}; expected at most 10 %"):
        strict.run(4)


def test_entropy_is_a_mean_over_tokens(workplace: Workplace) -> None:
    found = validation_of(workplace, Objective(), entropy=True).run(4)
    assert [sample["entropy"] for sample in found.samples[:-1]] == [0.5] * 5


def without_uid(found: Validated) -> str:
    """All that one validation has found, as text, in which NaN equals NaN; uids are drawn anew."""
    [dumped] = found.token_rows
    members = {name: value for name, value in vars(dumped.rollouts).items() if name != "uid"}
    return repr([found.samples, found.summaries, dumped.chosen, sorted(members.items())])


@pytest.mark.parametrize("size", [2, 1])
@pytest.mark.parametrize("weighting", [VisualAdvantage(), Masked(which="random", frac=0.5)])
def test_several_batches_are_as_one(workplace: Workplace, size: int, weighting: Weighting) -> None:
    """Samples, intervals and dumps, in the same order; a random draw of the weighting included."""
    objective = Objective(ReverseKL(), weighting=weighting)
    whole = validation_of(workplace, objective, entropy=True).run(4)
    parts = validation_of(workplace, objective, size, entropy=True).run(4)
    assert without_uid(parts) == without_uid(whole)
    reports = [call for call in workplace.calls if "done" in call]
    assert reports == ["3 done", *(f"{min(done, 3)} done" for done in range(size, 3 + size, size))]
    assert not workplace.queue
    rollouts = whole.token_rows[0].rollouts
    assert [*zip(rollouts.question_id, rollouts.rollout_index, strict=True)] == [("0", 0), ("0", 1), ("2", 0)]


def test_a_batch_without_a_rollout_is_missing_and_a_validation_without_one_an_error(workplace: Workplace) -> None:
    workplace.failed |= {(len(SPLITS) - 1, 0)}
    found = validation_of(workplace, Objective(), size=1).run(4)
    assert found.summaries["validation"]["n_missing"] == 2 and found.summaries["validation"]["n_samples"] == 2
    workplace.failed = {(index, number) for index in range(len(SPLITS)) for number in range(2)}
    with pytest.raises(RuntimeError, match="rollouts failed, 1 of them by ValueError: no such rule"):
        validation_of(workplace, Objective(), size=1).run(4)
