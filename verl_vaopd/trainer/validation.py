"""Held-out questions: n sampled answers each, verified, and scored by the teacher on both views.

Accuracy selects the checkpoint; mean visual advantage over all tokens is the paper's measure of how much the
student's answers rely on the image (VA-OPD, arXiv:2605.21924, Fig. 1 and Sec. 4.4).
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transfer_queue as tq
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.padding_utils import upsample_batch_to_divisible_size
from verl.utils import tensordict_utils as tu

from verl_vaopd.actor.engine import STUDENT_OUTPUTS, TEACHER_OUTPUTS
from verl_vaopd.answers.rewards import extract_boxed
from verl_vaopd.runs.token_dump import TokenRow, fixed_subset
from verl_vaopd.trainer import rows
from verl_vaopd.trainer.reporting import dump_rows, load_rollouts
from verl_vaopd.trainer.validation_stats import summarise_validation
from verl_vaopd.trainer.weighing import advantage_and_group, advantage_scores, weigh

if TYPE_CHECKING:
    from verl_vaopd.trainer.trainer import DistillationTrainer

Summary = dict[str, float | int]
FAILED = {
    "accuracy": float("nan"),
    "mean_va": float("nan"),
    "entropy": float("nan"),
    "num_tokens": 0,
    "truncated": False,
    "answer": None,
}
"""A sample of which no rollout arrived."""


def validate(trainer: DistillationTrainer) -> tuple[dict[str, Summary], list[TokenRow], list[dict[str, Any]]]:
    """One pass over the held-out questions of all splits.

    Returns: validation_stats.summarise_validation of each split, in order; token-level rows of the fixed questions
        whose tokens are dumped at every validation; one row per sample (samples.SCHEMA).
    """
    token_rows: list[TokenRow] = []
    samples: list[dict[str, Any]] = []
    for batch_dict in trainer.val_dataloader:
        batch = _rollouts(trainer, batch_dict)
        # The rollout engine and the teacher take turns on the accelerator.
        trainer.checkpoint_manager.sleep_replicas()
        padded = _padded(trainer, batch)
        trainer.teacher.score(padded, degraded_view=True, keep_hidden_states=False)
        samples += _samples(trainer, padded, batch, batch_dict)
        token_rows += _dump_heldout(trainer, batch, batch_dict)
        rows.clear(padded)
        trainer.checkpoint_manager.update_weights(trainer.global_steps)
    summaries: dict[str, Summary] = {}
    for split in dict.fromkeys(sample["split"] for sample in samples):
        correct: dict[str, list[float]] = defaultdict(list)
        mean_va: dict[str, list[float]] = defaultdict(list)
        for sample in samples:
            if sample["split"] == split:
                correct[sample["question_id"]].append(sample["accuracy"])
                mean_va[sample["question_id"]].append(sample["mean_va"])
        summaries[split] = summarise_validation(correct, mean_va, seed=trainer.config.run.seed)
    return summaries, token_rows, samples


def _samples(
    trainer: DistillationTrainer, padded: KVBatchMeta, batch: KVBatchMeta, batch_dict: dict[str, Any]
) -> list[dict[str, Any]]:
    """One row per sample asked for; a failed one is there with NaN: it counts as missing, not as wrong."""
    per_token: tuple[str, ...] = ()
    if trainer.config.validation.entropy:
        trainer.actor_rollout_wg.forward_tokens(rows.request(padded, trainer.teacher.forward_fields(scored=False)))
        per_token = ("student_entropy",)
    values = load_rollouts(batch, trainer.eos_token_ids, per_token)
    lengths = values["response_mask"].sum(dim=1)
    means = {"mean_va": advantage_scores(batch, "sampled")["visual_advantage"].sum(dim=1) / lengths}
    if trainer.config.validation.entropy:
        means["entropy"] = values["student_entropy"].sum(dim=1) / lengths
    row_of = {
        (uid, sample): row for row, (uid, sample) in enumerate(zip(values["uid"], values["rollout_index"], strict=True))
    }
    samples = []
    for uid, index, info in zip(batch_dict["uid"], batch_dict["index"], batch_dict["extra_info"], strict=True):
        for number in range(trainer.config.actor_rollout_ref.rollout.val_kwargs.n):
            row = row_of.get((uid, number))
            sample = {"split": info["split"], "question_id": str(index), "sample": number}
            if row is None:
                samples.append(sample | FAILED)
                continue
            ids = values["responses"][row][: int(lengths[row])]
            samples.append(
                sample
                | FAILED
                | {name: float(value[row]) for name, value in means.items()}
                | {
                    "accuracy": float(values["accuracy"][row]),
                    "num_tokens": int(lengths[row]),
                    "truncated": bool(values["truncated"][row]),
                    "answer": extract_boxed(trainer.tokenizer.decode(ids, skip_special_tokens=True)),
                }
            )
    return samples


def _rollouts(trainer: DistillationTrainer, batch_dict: dict[str, Any]) -> KVBatchMeta:
    """Sample answers, through the queue's validation partition."""
    num_prompts = len(batch_dict["raw_prompt"])
    batch_dict["uid"] = np.array([str(uuid.uuid4()) for _ in range(num_prompts)], dtype=object)
    prompts = tu.get_tensordict(batch_dict)
    tu.assign_non_tensor_data(prompts, "global_steps", trainer.global_steps)
    tu.assign_non_tensor_data(prompts, "validate", True)
    tags = [{"is_prompt": True, "status": "pending", "global_steps": trainer.global_steps} for _ in range(num_prompts)]
    tq.kv_batch_put(keys=list(batch_dict["uid"]), partition_id="val", tags=tags)
    trainer.agent_loop_manager.generate_sequences(prompts)
    batch, _ = trainer.replay_buffer.sample(
        global_steps=trainer.global_steps, partition_id="val", batch_size=num_prompts
    )
    rows.require_rollouts(batch)
    return batch


def _padded(trainer: DistillationTrainer, batch: KVBatchMeta) -> KVBatchMeta:
    """The batch with padding rows up to a multiple of the worker processes."""
    return upsample_batch_to_divisible_size(batch, trainer.actor_rollout_wg.world_size, trainer.tokenizer.eos_token_id)


def _dump_heldout(trainer: DistillationTrainer, batch: KVBatchMeta, batch_dict: dict[str, Any]) -> list[TokenRow]:
    """Rows of the fixed questions, with the KL to the teacher: one more pass of both models over these few."""
    config = trainer.config
    first = config.validation.splits[0]
    asked = {
        uid: str(index)
        for uid, index, info in zip(batch_dict["uid"], batch_dict["index"], batch_dict["extra_info"], strict=True)
        if info["split"] == first
    }
    chosen = fixed_subset(list(asked.values()), config.dump.num_heldout_prompts, config.run.seed)
    uids = {uid for uid, question in asked.items() if question in set(chosen)}
    subset = rows.select(batch, [row for row, uid in enumerate(rows.uids(batch)) if uid in uids])
    if not len(subset):
        return []
    padded = _padded(trainer, subset)
    gap = trainer.objective.needs_gap
    trainer.teacher.score(padded, degraded_view=True, keep_hidden_states=True, keep_degraded_hidden_states=gap)
    fields = trainer.teacher.forward_fields(scored=True, degraded=gap)
    trainer.actor_rollout_wg.forward_tokens(rows.request(padded, fields))
    values = load_rollouts(subset, trainer.eos_token_ids, [*STUDENT_OUTPUTS, *TEACHER_OUTPUTS, "rollout_log_probs"])
    scores = advantage_and_group(subset, trainer.objective.measuring)
    if trainer.objective.distils:
        scores = weigh(subset, trainer.objective.weighting, scores, torch.Generator().manual_seed(config.run.seed))
    values |= scores
    added = rows.select(padded, [row for row in range(len(padded)) if row >= len(subset)])
    if len(added):
        rows.clear(added)
    return dump_rows(values, chosen, trainer.tokenizer)
