"""From the teacher's scores to one weight per token, on the driver, where whole sibling groups are at hand.

VA-OPD (arXiv:2605.21924) Eq. 2-6.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from transfer_queue import KVBatchMeta

from verl_vaopd.algorithms.high_groups import high_group
from verl_vaopd.algorithms.measuring import HighGroup, Measuring
from verl_vaopd.algorithms.visual_advantage import divergence_gap, visual_advantage
from verl_vaopd.algorithms.weightings import Measured, Weighting
from verl_vaopd.trainer import rows

OF_SAMPLED_TOKEN = ("teacher_log_probs", "degraded_teacher_log_probs")
OF_DISTRIBUTION = ("degraded_reverse_kl", "reverse_kl")


def advantage_scores(batch: KVBatchMeta, advantage: str) -> dict[str, torch.Tensor]:
    """Visual advantage of rollouts whose two views have been scored.

    Args:
        batch: real rows only.
        advantage: `sampled`: of the sampled token, from OF_SAMPLED_TOKEN. `divergence_gap`: of the whole distribution,
            from OF_DISTRIBUTION, which a pass of the student over both views leaves in the queue.
    Returns: padded [N, T] tensors: response_mask, visual_advantage (nats) and what it comes from.
    """
    names = OF_SAMPLED_TOKEN if advantage == "sampled" else OF_DISTRIBUTION
    values: dict[str, Any] = rows.fetch(batch, ["response_mask", *names])
    compute = visual_advantage if advantage == "sampled" else divergence_gap
    first, second = (values[name] for name in names)
    values["visual_advantage"] = compute(first, second, values["response_mask"])
    return values


def advantage_and_group(batch: KVBatchMeta, measuring: Measuring) -> dict[str, torch.Tensor]:
    """advantage_scores by the configuration's definition, and high_group [N, T] bool by its rule."""
    values = advantage_scores(batch, measuring.advantage)
    group = {option.name: getattr(measuring, option.name) for option in fields(HighGroup)}
    values["high_group"] = high_group(values["visual_advantage"], values["response_mask"], **group)
    return values


def weigh(
    batch: KVBatchMeta, weighting: Weighting, scores: dict[str, torch.Tensor] | None, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """Token weights of the method.

    Args:
        batch: real rows only, whole sibling groups.
        scores: from advantage_and_group, or None for a method that needs none; the configuration is validated for it.
        generator: for controls that leave out random tokens.
    Returns: scores, with padded [N, T] token_weights.
    """
    values = dict(scores) if scores is not None else rows.fetch(batch, ["response_mask"])
    measured = Measured(
        values["response_mask"],
        rows.uids(batch),
        values.get("visual_advantage"),
        values.get("high_group"),
        generator,
    )
    values["token_weights"] = weighting.token_weights(measured)
    return values
