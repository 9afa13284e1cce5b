"""VA-OPD: rollouts and tokens weighted by visual advantage (Eq. 3-6 of arXiv:2605.21924), and its two ablations.

The loss of every method is sum over all tokens of token_weights * divergence, so it does not depend on how rollouts are
spread over micro-batches and ranks. With V_k the tokens of rollout k that have the highest visual advantage
(high_groups) and L_k the others, w_k its weight among its siblings (Eq. 4), and B prompts:

    W_t = w_k / B * high_coef / |V_k|          t in V_k
    W_t = w_k / B * (1 - high_coef) / |L_k|    t in L_k
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from verl_vaopd.algorithms.measuring import SiblingSoftmax
from verl_vaopd.algorithms.options import option
from verl_vaopd.algorithms.weightings.weighting import Measured, Weighting

if TYPE_CHECKING:
    import torch


@dataclass
class VisualAdvantage(SiblingSoftmax, Weighting):
    """Siblings by their mean visual advantage (VA), tokens in a high and a low group."""

    name: str = "visual_advantage"
    high_coef: float = option(0.5, "Weight of the high-VA group (Sec. 4.1, lambda).", at_least=0, at_most=1)
    rollout_weighting: bool = option(True, "Eq. 3-4; off: siblings weigh the same.")
    token_grouping: bool = option(True, "Eq. 5; off: tokens of a rollout weigh the same.")

    @property
    def needs_visual_advantage(self) -> bool:
        """Unless both switches are off, which is Standard OPD."""
        return self.rollout_weighting or self.token_grouping

    def token_weights(self, rollouts: Measured) -> torch.Tensor:
        """See Weighting. If no token is left for the low group, or the high one is empty, the other gets everything."""
        from verl_vaopd.algorithms.spreading import (
            equal_rollout_weights,
            grouped_weights,
            share_of_prompt,
            spread,
            uniform_weights,
        )
        from verl_vaopd.algorithms.visual_advantage import rollout_weights

        mask, uid = rollouts.response_mask.bool(), rollouts.uid
        if rollouts.visual_advantage is None or rollouts.high_group is None:
            assert not self.needs_visual_advantage, "measured before"
            return uniform_weights(mask, uid)
        # Asked for even where its result is not used, so that a switch never hides broken input.
        of_rollouts = rollout_weights(rollouts.visual_advantage, rollouts.response_mask, uid, self)
        if not self.rollout_weighting:
            of_rollouts = equal_rollout_weights(uid, mask)
        within = grouped_weights(rollouts.high_group, mask, self.high_coef) if self.token_grouping else spread(mask)
        return share_of_prompt(of_rollouts, uid) * within
