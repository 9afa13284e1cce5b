"""Controls of Sec. 2.2 of arXiv:2605.21924: Standard OPD that leaves out some tokens of each rollout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from verl_vaopd.algorithms.options import option
from verl_vaopd.algorithms.weightings.weighting import Measured, Weighting

if TYPE_CHECKING:
    import torch


@dataclass
class Masked(Weighting):
    """What is lost without some tokens shows what they teach."""

    name: str = "masked"
    which: str = option(
        "high",
        "Which tokens are left out: those of the highest or lowest visual advantage, or any.",
        choices=("high", "low", "random"),
    )
    frac: float = option(0.1, "Share of a rollout's tokens that are left out.", at_least=0, below=1)

    @property
    def needs_visual_advantage(self) -> bool:
        """Unless the tokens are drawn at random."""
        return self.which != "random"

    def token_weights(self, rollouts: Measured) -> torch.Tensor:
        """See Weighting."""
        import torch

        from verl_vaopd.algorithms.token_weights import masked_opd_weights

        advantage = rollouts.visual_advantage
        if advantage is None:
            advantage = torch.zeros(rollouts.response_mask.shape)
        return masked_opd_weights(advantage, rollouts.response_mask, rollouts.uid, self, generator=rollouts.generator)
