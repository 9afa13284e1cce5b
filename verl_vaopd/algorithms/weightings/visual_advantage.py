"""VA-OPD: rollouts and tokens weighted by visual advantage (Eq. 3-6 of arXiv:2605.21924), and its two ablations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from verl_vaopd.algorithms.options import option
from verl_vaopd.algorithms.weightings.weighting import Measured, Weighting

if TYPE_CHECKING:
    import torch


@dataclass
class VisualAdvantage(Weighting):
    """Siblings by their mean visual advantage (VA), tokens in a high and a low group."""

    name: str = "visual_advantage"
    high_coef: float = option(0.5, "Weight of the high-VA group (Sec. 4.1, lambda).", at_least=0, at_most=1)
    temperature: float = option(1.0, "Of the softmax over siblings (Sec. 4.1, tau).", above=0)
    eps: float = option(
        1e-6, "Added to the siblings' standard deviation (Eq. 3; the value is the public release's).", above=0
    )
    rollout_weighting: bool = option(True, "Eq. 3-4; off: siblings weigh the same.")
    token_grouping: bool = option(True, "Eq. 5; off: tokens of a rollout weigh the same.")
    rollout_shrinkage: float = option(
        0.0,
        "Nats, added to the siblings' standard deviation in Eq. 3, so that siblings that barely differ weigh alike.",
        unit="nats",
        at_least=0,
    )

    @property
    def needs_visual_advantage(self) -> bool:
        """Unless both switches are off, which is Standard OPD."""
        return self.rollout_weighting or self.token_grouping

    def token_weights(self, rollouts: Measured) -> torch.Tensor:
        """See Weighting."""
        from verl_vaopd.algorithms.token_weights import uniform_weights, visual_advantage_weights

        if not self.needs_visual_advantage:
            return uniform_weights(rollouts.response_mask, rollouts.uid)
        assert rollouts.visual_advantage is not None and rollouts.high_group is not None, "measured before"
        return visual_advantage_weights(
            rollouts.visual_advantage, rollouts.high_group, rollouts.response_mask, rollouts.uid, self
        )
