"""Standard OPD: mean over a rollout's tokens, then over siblings, then over prompts (Eq. 1 of arXiv:2605.21924)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from verl_vaopd.algorithms.weightings.weighting import Measured, Weighting

if TYPE_CHECKING:
    import torch


@dataclass
class Uniform(Weighting):
    """All tokens of a rollout alike, and all rollouts of a prompt."""

    name: str = "uniform"

    def token_weights(self, rollouts: Measured) -> torch.Tensor:
        from verl_vaopd.algorithms.spreading import uniform_weights

        return uniform_weights(rollouts.response_mask, rollouts.uid)
