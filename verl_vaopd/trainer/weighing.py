"""From the teacher's scores to one weight per token, on the driver, where whole sibling groups are at hand.

VA-OPD (arXiv:2605.21924) Eq. 2-6.
"""

from __future__ import annotations

import dataclasses

import torch

from verl_vaopd.algorithms.high_groups import high_group
from verl_vaopd.algorithms.measuring import HighGroup, Measuring
from verl_vaopd.algorithms.visual_advantage import divergence_gap, visual_advantage
from verl_vaopd.algorithms.weightings import Measured, Weighting
from verl_vaopd.engine import fields
from verl_vaopd.trainer.rollouts import Rollouts

SOURCES = {
    "sampled": (fields.TEACHER_LOG_PROBS, fields.DEGRADED_TEACHER_LOG_PROBS),
    "divergence_gap": (fields.DEGRADED_REVERSE_KL, fields.REVERSE_KL),
}
"""The per-token values that each visual advantage (`Measuring.advantage`) comes from: the teacher leaves the former in
the queue, a pass of the student over both views the latter."""


def advantage_of(rollouts: Rollouts, advantage: str) -> torch.Tensor:
    """Visual advantage [N, T] float32 nats of rollouts that have its SOURCES."""
    compute = visual_advantage if advantage == "sampled" else divergence_gap
    first, second = (rollouts.per_token[name] for name in SOURCES[advantage])
    return compute(first, second, rollouts.response_mask)


def measure(rollouts: Rollouts, measuring: Measuring) -> Rollouts:
    """The rollouts with visual_advantage [N, T] by the given definition, and high_group [N, T] bool by its rule."""
    advantage = advantage_of(rollouts, measuring.advantage)
    group = {option.name: getattr(measuring, option.name) for option in dataclasses.fields(HighGroup)}
    high = high_group(advantage, rollouts.response_mask, **group)
    return rollouts.adding(visual_advantage=advantage, high_group=high)


def weigh(rollouts: Rollouts, weighting: Weighting, generator: torch.Generator) -> Rollouts:
    """The rollouts with token_weights [N, T] float32.

    Args:
        rollouts: whole sibling groups, measured where the weighting needs it.
        generator: for what a weighting draws at random.
    """
    known = rollouts.per_token
    measured = Measured(
        rollouts.response_mask, rollouts.uid, known.get("visual_advantage"), known.get("high_group"), generator
    )
    return rollouts.adding(token_weights=weighting.token_weights(measured))
