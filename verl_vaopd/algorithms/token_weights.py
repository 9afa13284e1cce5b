"""Token weights for callers outside the trainer: the weightings as functions (Eq. 5-6 of arXiv:2605.21924).

What a weighting is stands in weightings/, one module each; the trainer calls those.

Axes: N rollouts of all prompts, T tokens, B prompts, K siblings (rollouts of one prompt).
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from verl_vaopd.algorithms.high_groups import high_group
from verl_vaopd.algorithms.measuring import HighGroup
from verl_vaopd.algorithms.options import options_from, require_options
from verl_vaopd.algorithms.visual_advantage import rollout_weights
from verl_vaopd.algorithms.weightings import Masked, Measured, VisualAdvantage

__all__ = ["TokenWeighting", "high_group", "masked_opd_weights", "rollout_weights", "token_weights"]


@dataclass
class TokenWeighting(VisualAdvantage, HighGroup):
    """All that the weights of VA-OPD depend on: who is in the high group, and how siblings and groups weigh."""


@torch.no_grad()
def token_weights(
    visual_advantage: torch.Tensor,
    response_mask: torch.Tensor,
    uid: Sequence[Hashable] | torch.Tensor,
    *options: TokenWeighting | float,
    **named: Any,
) -> torch.Tensor:
    """Weight of each token's divergence in the loss of VA-OPD, its two ablations and Standard OPD.

    Both switches off is Standard OPD: mean over a rollout's tokens, then over siblings, then over prompts.

    Args:
        visual_advantage: [N, T] float, nats. Constant.
        response_mask: [N, T] bool or 0/1.
        uid: N hashables or an integer tensor [N], one value per prompt, rows in any order. The uids present are the
            prompts of the whole batch: call this before the batch is split.
        options, named: a TokenWeighting, or its fields by name; by place too are high_frac, high_coef, temperature,
            eps, rollout_weighting and token_grouping, in this order.
    Returns: [N, T] float32, >= 0; 0 where masked; sums to 1/B per uid. No gradient.
    Raises:
        ValueError: unequal shapes, an empty response, NaN or infinity at a valid token, an option out of range.
    """
    order = ("high_frac", "high_coef", "temperature", "eps", "rollout_weighting", "token_grouping")
    weighting = options_from(TokenWeighting, options, named, order)
    group = {name: getattr(weighting, name) for name in HighGroup.__dataclass_fields__}
    high = high_group(visual_advantage, response_mask, **group)
    return weighting.token_weights(Measured(response_mask, uid, visual_advantage, high))


@torch.no_grad()
def masked_opd_weights(
    visual_advantage: torch.Tensor,
    response_mask: torch.Tensor,
    uid: Sequence[Hashable] | torch.Tensor,
    which: Masked | str,
    frac: float = Masked.frac,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Standard OPD that leaves out some tokens of each rollout: what is lost without them shows what they teach.

    Args:
        visual_advantage: [N, T] float, nats. Constant.
        response_mask: [N, T] bool or 0/1.
        uid: N hashables or an integer tensor [N], one value per prompt, as for token_weights.
        which, frac: a weighting Masked, or its two fields.
        generator: for "random"; one number is drawn per response token, in order. None: torch's default generator.
    Returns: [N, T] float32, >= 0; 0 where masked or left out; sums to 1/B per uid. No gradient.
    Raises:
        ValueError: unequal shapes, an empty response, NaN or infinity at a valid token, an option out of range.
    """
    weighting = which if isinstance(which, Masked) else Masked(which=which, frac=frac)
    require_options(weighting)
    return weighting.token_weights(Measured(response_mask, uid, visual_advantage, generator=generator))
