"""Controls of Sec. 2.2 of arXiv:2605.21924: Standard OPD that leaves out some tokens of each rollout.

A rollout loses ceil(frac * T) of its T tokens, but keeps one at least; the others share its weight equally, so that it
weighs as much as in Standard OPD. With frac 0 the weights are those of Standard OPD.
"""

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
    frac: float = option(
        0.1, "Share of a rollout's tokens that are left out; rounded up to whole tokens.", at_least=0, below=1
    )

    @property
    def needs_visual_advantage(self) -> bool:
        """Unless the tokens are drawn at random."""
        return self.which != "random"

    def token_weights(self, rollouts: Measured) -> torch.Tensor:
        """See Weighting.

        Of equal tokens the earlier go first, under "low" too: many are 0, and the end of a response must not be the
        first to go, or its end of sequence would never be learnt.
        """
        import torch

        from verl_vaopd.algorithms import checks
        from verl_vaopd.algorithms.high_groups import ceil_share, first_ranked
        from verl_vaopd.algorithms.spreading import equal_rollout_weights, share_of_prompt, spread

        advantage = rollouts.visual_advantage
        if advantage is not None:
            checks.require_same_shape(visual_advantage=advantage, response_mask=rollouts.response_mask)
        mask = checks.valid_tokens(rollouts.response_mask)
        if advantage is not None:
            checks.require_finite("visual_advantage", advantage, mask)
        if self.which == "random":
            scores = _random_scores(mask, rollouts.generator)
        else:
            assert advantage is not None, "measured before"
            scores = advantage.float() if self.which == "high" else -advantage.float()
        num_tokens = mask.sum(dim=1, keepdim=True)
        num_left_out = torch.minimum(ceil_share(self.frac, num_tokens), num_tokens - 1)
        kept = mask & ~first_ranked(scores, mask, num_left_out)
        return share_of_prompt(equal_rollout_weights(rollouts.uid, mask), rollouts.uid) * spread(kept)


def _random_scores(mask: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """[N, T] float32: uniform in [0, 1) at the members of the mask, whatever the padding around them; 0 elsewhere."""
    import torch

    device = torch.device("cpu") if generator is None else generator.device
    scores = torch.zeros(mask.shape, device=mask.device)
    scores[mask] = torch.rand(int(mask.sum()), generator=generator, device=device).to(mask.device)
    return scores
