"""Held-out questions: n sampled answers each, verified, and scored by the teacher on both views.

Accuracy selects the checkpoint; mean visual advantage over all tokens is the paper's measure of how much the
student's answers rely on the image (VA-OPD, arXiv:2605.21924, Fig. 1 and Sec. 4.4).
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import transfer_queue as tq
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.padding_utils import upsample_batch_to_divisible_size
from verl.utils import tensordict_utils as tu

from verl_vaopd.actor.engine import TOKEN_OUTPUTS
from verl_vaopd.trainer import queue
from verl_vaopd.trainer.dump import TokenRow, fixed_subset
from verl_vaopd.trainer.reporting import dump_rows, load_rollouts
from verl_vaopd.trainer.validation_stats import summarise_validation
from verl_vaopd.trainer.weighing import score_tokens

if TYPE_CHECKING:
    from verl_vaopd.trainer.trainer import DistillationTrainer


def validate(trainer: DistillationTrainer) -> tuple[dict[str, float | int], list[TokenRow]]:
    """One pass over the held-out questions.

    Returns: the summary of validation_stats.summarise_validation, and token-level rows of the fixed questions whose
        tokens are dumped at every validation.
    """
    correct: dict[str, list[float]] = defaultdict(list)
    mean_va: dict[str, list[float]] = defaultdict(list)
    rows: list[TokenRow] = []
    num_samples = trainer.config.actor_rollout_ref.rollout.val_kwargs.n
    for batch_dict in trainer.val_dataloader:
        batch = _rollouts(trainer, batch_dict)
        # The rollout engine and the teacher take turns on the accelerator.
        trainer.checkpoint_manager.sleep_replicas()
        padded = _padded(trainer, batch)
        trainer.teacher.score(padded, degraded_view=True, keep_hidden_states=False)
        values = load_rollouts(batch, trainer.eos_token_ids, ())
        scores = score_tokens(batch, trainer.config.vaopd, degraded_view=True)
        per_rollout = scores["visual_advantage"].sum(dim=1) / values["response_mask"].sum(dim=1)
        for question, accuracy, va in zip(
            values["question_id"], values["accuracy"].tolist(), per_rollout.tolist(), strict=True
        ):
            correct[question].append(accuracy)
            mean_va[question].append(va)
        asked = [str(index) for index in batch_dict["index"]]
        rows += _dump_heldout(trainer, batch, values["question_id"], asked)
        queue.clear(padded)
        trainer.checkpoint_manager.update_weights(trainer.global_steps)
        for question in asked:
            # A failed sample counts as missing, not as wrong; a question without any is reported, not forgotten.
            missing = num_samples - len(correct[question])
            correct[question] += [float("nan")] * missing
            mean_va[question] += [float("nan")] * missing
    return summarise_validation(correct, mean_va, seed=trainer.config.run.seed), rows


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
    queue.require_rollouts(batch)
    return batch


def _padded(trainer: DistillationTrainer, batch: KVBatchMeta) -> KVBatchMeta:
    """The batch with padding rows up to a multiple of the worker processes."""
    return upsample_batch_to_divisible_size(batch, trainer.actor_rollout_wg.world_size, trainer.tokenizer.eos_token_id)


def _dump_heldout(
    trainer: DistillationTrainer, batch: KVBatchMeta, question_ids: list[str], asked: list[str]
) -> list[TokenRow]:
    """Rows of the fixed questions, with the KL to the teacher: one more pass of both models over these few."""
    config = trainer.config
    chosen = fixed_subset(asked, config.dump.num_heldout_prompts, config.run.seed)
    subset = queue.select(batch, [row for row, question in enumerate(question_ids) if question in set(chosen)])
    if not len(subset):
        return []
    padded = _padded(trainer, subset)
    trainer.teacher.score(padded, degraded_view=True, keep_hidden_states=True)
    trainer.actor_rollout_wg.forward_tokens(queue.request(padded, trainer.teacher.forward_fields()))
    values = load_rollouts(subset, trainer.eos_token_ids, TOKEN_OUTPUTS)
    values |= score_tokens(subset, config.vaopd, degraded_view=True)
    added = queue.select(padded, [row for row in range(len(padded)) if row >= len(subset)])
    if len(added):
        queue.clear(added)
    return dump_rows(values, chosen, trainer.tokenizer)
