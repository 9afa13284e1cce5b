"""From the teacher's scores to one weight per token, on the driver, where whole sibling groups are at hand.

VA-OPD (arXiv:2605.21924) Eq. 2-6. A new weighting of tokens is a change here and in algorithms/token_weights.py.
"""

from __future__ import annotations

from typing import Any

import torch
from omegaconf import DictConfig
from transfer_queue import KVBatchMeta

from verl_vaopd.algorithms.token_weights import high_group, token_weights
from verl_vaopd.algorithms.visual_advantage import visual_advantage
from verl_vaopd.trainer import queue


def score_tokens(batch: KVBatchMeta, options: DictConfig, degraded_view: bool) -> dict[str, torch.Tensor]:
    """Weights, and what they come from, of rollouts that the teacher has scored.

    Args:
        batch: real rows only, whole sibling groups.
        options: `vaopd` of the configuration.
        degraded_view: whether the teacher has scored the degraded view. Without it there is no visual advantage, and
            `options` must switch off what needs it (the configuration is validated for that).
    Returns: padded [N, T] tensors: response_mask, teacher_log_probs, token_weights; with the degraded view also
        degraded_teacher_log_probs, visual_advantage (nats) and high_group (bool).
    """
    fields = ["response_mask", "teacher_log_probs", *(["degraded_teacher_log_probs"] if degraded_view else [])]
    values: dict[str, Any] = queue.fetch(batch, fields)
    mask = values["response_mask"]
    if degraded_view:
        values["visual_advantage"] = visual_advantage(
            values["teacher_log_probs"], values["degraded_teacher_log_probs"], mask
        )
        values["high_group"] = high_group(values["visual_advantage"], mask, options.high_frac)
    values["token_weights"] = token_weights(
        values.get("visual_advantage", torch.zeros(mask.shape)),
        mask,
        uid=queue.uids(batch),
        high_frac=options.high_frac,
        high_coef=options.high_coef,
        temperature=options.temperature,
        eps=options.eps,
        rollout_weighting=options.rollout_weighting,
        token_grouping=options.token_grouping,
    )
    return values
