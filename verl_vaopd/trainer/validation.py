"""Held-out questions: n sampled answers each, verified, and scored by the teacher on both views.

Accuracy selects the checkpoint; mean visual advantage over all tokens is the paper's measure of how much the
student's answers rely on the image (VA-OPD, arXiv:2605.21924, Fig. 1 and Sec. 4.4).
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transfer_queue as tq
from omegaconf import DictConfig
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.padding_utils import upsample_batch_to_divisible_size
from verl.utils import tensordict_utils as tu

from verl_vaopd.answers.rewards import extract_boxed
from verl_vaopd.config.objective import Objective
from verl_vaopd.data.scoring import tell_unscored
from verl_vaopd.engine import fields
from verl_vaopd.runs.token_dump import TokenRow
from verl_vaopd.teacher.request import ScoreRequest
from verl_vaopd.trainer import rows
from verl_vaopd.trainer.failures import require_few_failures
from verl_vaopd.trainer.placement import TeacherGroup
from verl_vaopd.trainer.reporting import dump_rows
from verl_vaopd.trainer.rollouts import Rollouts, concatenated
from verl_vaopd.trainer.validation_stats import summarise_validation
from verl_vaopd.trainer.weighing import SOURCES, advantage_of, measure, weigh

if TYPE_CHECKING:
    from verl.checkpoint_engine import CheckpointEngineManager
    from verl.single_controller.ray import RayWorkerGroup
    from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

    from verl_vaopd.rollout.agent_loop import ViewAgentLoopManager

FAILED = {
    "accuracy": float("nan"),
    "mean_va": float("nan"),
    "entropy": float("nan"),
    "num_tokens": 0,
    "truncated": False,
    "answer": None,
}
"""A sample of which no rollout arrived."""


@dataclass
class Validated:
    """What one validation has found.

    Attributes:
        samples: one row per sample (validation_samples.SCHEMA).
        token_rows: token-level rows of the fixed questions whose tokens are dumped at every validation.
        failures: sentences about samples that failed, and about answers that could not be scored.
        summaries: validation_stats.summarise_validation of each split, in order.
    """

    samples: list[dict[str, Any]] = field(default_factory=list)
    token_rows: list[TokenRow] = field(default_factory=list)
    summaries: dict[str, dict[str, float | int]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Asks the held-out questions of all splits. Its collaborators are the trainer's.

    Attributes:
        questions: batches of prompts: verl's data loader of the held-out files.
        agent_loops, replay_buffer: who makes rollouts, and where they are found.
        checkpoint_manager: lets the rollout engine sleep and wakes it with the student's weights.
        student_group, teacher: the models.
        config: the job's; `run.seed`, `validation` and the number of samples are read.
        dumped_questions: whose tokens are dumped, of the first split.
        report: is told after every batch how many questions are done.
    """

    questions: Iterable[dict[str, Any]]
    agent_loops: ViewAgentLoopManager
    replay_buffer: ReplayBuffer
    checkpoint_manager: CheckpointEngineManager
    student_group: RayWorkerGroup
    teacher: TeacherGroup
    tokenizer: Any
    eos_token_ids: Sequence[int]
    objective: Objective
    config: DictConfig
    dumped_questions: Collection[str]
    report: Callable[[int], None]

    def run(self, global_steps: int) -> Validated:
        """One pass over all questions, batch by batch, `global_steps` steps into training.

        Raises:
            RuntimeError: not one rollout arrived, or more failed than run.max_dropped_frac allows.
        """
        found = Validated()
        dumped: list[Rollouts] = []
        num_done = num_arrived = 0
        for prompts in self.questions:
            batch = self.sample(prompts, global_steps)
            measured: dict[tuple[str, int], dict[str, Any]] = {}
            if len(batch):
                # The rollout engine and the teacher take turns on the accelerator.
                self.checkpoint_manager.sleep_replicas()
                padded = self.padded(batch)
                self.teacher.score(padded, ScoreRequest.for_heldout())
                measured = self._measure(padded, batch)
                dumped += self._dumped(batch, prompts)
                rows.clear(padded)
                self.checkpoint_manager.update_weights(global_steps)
            found.samples += self._samples(prompts, measured)
            num_arrived += len(batch)
            num_done += len(prompts["uid"])
            self.report(num_done)
        num_asked = num_done * self.config.actor_rollout_ref.rollout.val_kwargs.n
        limit, what = self.config.run.max_dropped_frac, f"validation at step {global_steps}"
        failures = require_few_failures(self.agent_loops, num_arrived, num_asked, limit, what)
        found.failures += [failures.told] if failures.num else []
        unscored = tell_unscored(self.agent_loops.take_unscored(), what)
        found.failures += [unscored] if unscored else []
        rows.require_rollouts(num_arrived)
        if dumped:
            found.token_rows = self._token_rows(concatenated(dumped))
        for split in dict.fromkeys(sample["split"] for sample in found.samples):
            correct: dict[str, list[float]] = defaultdict(list)
            mean_va: dict[str, list[float]] = defaultdict(list)
            for sample in found.samples:
                if sample["split"] == split:
                    correct[sample["question_id"]].append(sample["accuracy"])
                    mean_va[sample["question_id"]].append(sample["mean_va"])
            found.summaries[split] = summarise_validation(correct, mean_va, seed=self.config.run.seed)
        return found

    def sample(self, prompts: dict[str, Any], global_steps: int) -> KVBatchMeta:
        """Answers, through the queue's validation partition: in the order of the questions and of their samples."""
        num_prompts = len(prompts["raw_prompt"])
        prompts["uid"] = np.array([str(uuid.uuid4()) for _ in range(num_prompts)], dtype=object)
        asked = tu.get_tensordict(prompts)
        tu.assign_non_tensor_data(asked, "global_steps", global_steps)
        tu.assign_non_tensor_data(asked, "validate", True)
        tags = [{"is_prompt": True, "status": "pending", "global_steps": global_steps} for _ in range(num_prompts)]
        tq.kv_batch_put(keys=list(prompts["uid"]), partition_id="val", tags=tags)
        self.agent_loops.generate_sequences(asked)
        batch, _ = self.replay_buffer.sample(global_steps=global_steps, partition_id="val", batch_size=num_prompts)
        place = {uid: number for number, uid in enumerate(prompts["uid"])}
        asked_at = [(place[uid], rows.sibling(key)) for uid, key in zip(rows.uids(batch), batch.keys, strict=True)]
        return rows.select(batch, sorted(range(len(batch)), key=asked_at.__getitem__))

    def padded(self, batch: KVBatchMeta) -> KVBatchMeta:
        """The batch with padding rows up to a multiple of the worker processes."""
        return upsample_batch_to_divisible_size(batch, self.student_group.world_size, self.tokenizer.eos_token_id)

    def _measure(self, padded: KVBatchMeta, batch: KVBatchMeta) -> dict[tuple[str, int], dict[str, Any]]:
        """What is known of each rollout that arrived, by prompt and number among its siblings."""
        entropy = [fields.STUDENT_ENTROPY] if self.config.validation.entropy else []
        if entropy:
            self.student_group.forward_tokens(rows.request(padded, self.teacher.forward_fields(scored=False)))
        sources = SOURCES["sampled"]
        rollouts = rows.load_rollouts(batch, self.eos_token_ids, [*sources, *entropy])
        means = {"mean_va": advantage_of(rollouts, "sampled").sum(dim=1) / rollouts.lengths}
        if entropy:
            means["entropy"] = rollouts.per_token[fields.STUDENT_ENTROPY].sum(dim=1) / rollouts.lengths
        measured: dict[tuple[str, int], dict[str, Any]] = {}
        for row, key in enumerate(zip(rollouts.uid, rollouts.rollout_index, strict=True)):
            ids = rollouts.responses[row][: int(rollouts.lengths[row])]
            measured[key] = {
                **{name: float(value[row]) for name, value in means.items()},
                "accuracy": float(rollouts.accuracy[row]),
                "num_tokens": len(ids),
                "truncated": bool(rollouts.truncated[row]),
                "answer": extract_boxed(self.tokenizer.decode(ids, skip_special_tokens=True)),
            }
        return measured

    def _samples(
        self, prompts: dict[str, Any], measured: dict[tuple[str, int], dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """One row per sample asked for; a failed one is there with NaN: it counts as missing, not as wrong."""
        samples = []
        for uid, index, split in zip(prompts["uid"], prompts["index"], prompts["split"], strict=True):
            for number in range(self.config.actor_rollout_ref.rollout.val_kwargs.n):
                asked = {"split": split, "question_id": str(index), "sample": number}
                samples.append(asked | FAILED | measured.get((uid, number), {}))
        return samples

    def _dumped(self, batch: KVBatchMeta, prompts: dict[str, Any]) -> list[Rollouts]:
        """Those of the fixed questions, with the KL to the teacher: one more pass of both models over these few."""
        objective, first = self.objective, self.config.validation.splits[0]
        chosen = set(self.dumped_questions)
        uids = {
            uid
            for uid, index, split in zip(prompts["uid"], prompts["index"], prompts["split"], strict=True)
            if split == first and str(index) in chosen
        }
        subset = rows.select(batch, [row for row, uid in enumerate(rows.uids(batch)) if uid in uids])
        if not len(subset):
            return []
        padded = self.padded(subset)
        request = ScoreRequest.for_heldout_dump(objective)
        self.teacher.score(padded, request)
        read = self.teacher.forward_fields(scored=True, degraded=request.keep_degraded_hidden_states)
        self.student_group.forward_tokens(rows.request(padded, read))
        outputs = (*fields.STUDENT_OUTPUTS, *fields.TEACHER_OUTPUTS, fields.ROLLOUT_LOG_PROBS)
        sources = SOURCES[objective.measuring.advantage]
        rollouts = rows.load_rollouts(subset, self.eos_token_ids, [*outputs, *sources])
        added = rows.select(padded, [row for row in range(len(padded)) if row >= len(subset)])
        if len(added):
            rows.clear(added)
        return [rollouts]

    def _token_rows(self, rollouts: Rollouts) -> list[TokenRow]:
        """Rows of the dump. Weighed all together: a prompt's share depends on how many there are."""
        rollouts = measure(rollouts, self.objective.measuring)
        if self.objective.distils:
            generator = torch.Generator().manual_seed(self.config.run.seed)
            rollouts = weigh(rollouts, self.objective.weighting, generator)
        return dump_rows(rollouts, self.dumped_questions, self.tokenizer)
