"""One weight per token: what a distillation method is, once its divergence is chosen (Eq. 5-6 of arXiv:2605.21924).

Axes: N rollouts of all prompts, T tokens, B prompts, K siblings (rollouts of one prompt).

The loss of every method is sum over all tokens of token_weights * divergence, so it does not depend on how rollouts
are spread over micro-batches and ranks. For VA-OPD, with V_k the tokens of rollout k that have the highest visual
advantage and L_k the others, and w_k its weight among its siblings (Eq. 4):

    W_t = w_k / B * high_coef / |V_k|          t in V_k
    W_t = w_k / B * (1 - high_coef) / |L_k|    t in L_k

Which tokens make up V_k is said in high_groups.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from verl_vaopd.algorithms import checks
from verl_vaopd.algorithms.high_groups import ceil_share, first_ranked, high_group
from verl_vaopd.algorithms.measuring import HighGroup
from verl_vaopd.algorithms.options import options_from, require_options
from verl_vaopd.algorithms.visual_advantage import rollout_weights, sibling_table
from verl_vaopd.algorithms.weightings.masked import Masked
from verl_vaopd.algorithms.weightings.visual_advantage import VisualAdvantage

__all__ = [
    "TokenWeighting",
    "high_group",
    "masked_opd_weights",
    "token_weights",
    "uniform_weights",
    "visual_advantage_weights",
]


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
    high = high_group(
        visual_advantage, response_mask, **{name: getattr(weighting, name) for name in HighGroup.__dataclass_fields__}
    )
    return visual_advantage_weights(visual_advantage, high, response_mask, uid, weighting)


@torch.no_grad()
def visual_advantage_weights(
    visual_advantage: torch.Tensor,
    high: torch.Tensor,
    response_mask: torch.Tensor,
    uid: Sequence[Hashable] | torch.Tensor,
    weighting: VisualAdvantage,
) -> torch.Tensor:
    """token_weights for a high group [N, T] bool that is known."""
    # Asked for even where its result is not used, so that a switch never hides broken input.
    weights_of_rollouts = rollout_weights(visual_advantage, response_mask, uid, weighting)
    mask = response_mask.bool()
    if not weighting.rollout_weighting:
        weights_of_rollouts = _equal_rollout_weights(uid, mask)
    within_rollout = _grouped_weights(high, mask, weighting.high_coef) if weighting.token_grouping else _spread(mask)
    return _share_of_prompt(weights_of_rollouts, uid) * within_rollout


@torch.no_grad()
def uniform_weights(response_mask: torch.Tensor, uid: Sequence[Hashable] | torch.Tensor) -> torch.Tensor:
    """Standard OPD: mean over a rollout's tokens, then over siblings, then over prompts.

    Args, returns and raises as token_weights, without visual advantage.
    """
    mask = checks.valid_tokens(response_mask)
    return _share_of_prompt(_equal_rollout_weights(uid, mask), uid) * _spread(mask)


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

    A rollout loses ceil(frac * T) of its T tokens, but keeps one at least; the others share its weight equally, so that
    it weighs as much as in Standard OPD. With frac 0 the weights are those of Standard OPD.

    Args:
        visual_advantage: [N, T] float, nats. Constant.
        response_mask: [N, T] bool or 0/1.
        uid: N hashables or an integer tensor [N], one value per prompt, as for token_weights.
        which, frac: a weighting Masked, or its two fields. Of equal tokens the earlier go first, under "low" too: many
            are 0, and the end of a response must not be the first to go, or its end of sequence would never be learnt.
            frac is rounded up to whole tokens.
        generator: for "random"; one number is drawn per response token, in order. None: torch's default generator.
    Returns: [N, T] float32, >= 0; 0 where masked or left out; sums to 1/B per uid. No gradient.
    Raises:
        ValueError: unequal shapes, an empty response, NaN or infinity at a valid token, an option out of range.
    """
    weighting = which if isinstance(which, Masked) else Masked(which=which, frac=frac)
    require_options(weighting)
    checks.require_same_shape(visual_advantage=visual_advantage, response_mask=response_mask)
    mask = checks.valid_tokens(response_mask)
    checks.require_finite("visual_advantage", visual_advantage, mask)
    scores = {"high": visual_advantage.float(), "low": -visual_advantage.float()}.get(weighting.which)
    if scores is None:
        scores = _random_scores(mask, generator)
    num_tokens = mask.sum(dim=1, keepdim=True)
    num_left_out = torch.minimum(ceil_share(weighting.frac, num_tokens), num_tokens - 1)
    kept = mask & ~first_ranked(scores, mask, num_left_out)
    return _share_of_prompt(_equal_rollout_weights(uid, mask), uid) * _spread(kept)


def _random_scores(mask: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """[N, T] float32: uniform in [0, 1) at the members of the mask, whatever the padding around them; 0 elsewhere."""
    device = torch.device("cpu") if generator is None else generator.device
    scores = torch.zeros(mask.shape, device=mask.device)
    scores[mask] = torch.rand(int(mask.sum()), generator=generator, device=device).to(mask.device)
    return scores


def _share_of_prompt(weights_of_rollouts: torch.Tensor, uid: Sequence[Hashable] | torch.Tensor) -> torch.Tensor:
    """[N, 1]: the weight of each rollout in the mean over prompts."""
    num_prompts = len(sibling_table(uid, len(weights_of_rollouts)))
    return weights_of_rollouts[:, None] / max(num_prompts, 1)


def _grouped_weights(high: torch.Tensor, mask: torch.Tensor, high_coef: float) -> torch.Tensor:
    """[N, T] weights that sum to 1 per rollout: high_coef over the high group, the rest over the low group.

    If either group is empty, the other gets everything, which is Standard OPD within the rollout.
    """
    low = mask & ~high
    coef = torch.where(low.any(dim=1, keepdim=True), high_coef, 1.0)
    coef = torch.where(high.any(dim=1, keepdim=True), coef, 0.0)
    return coef * _spread(high) + (1 - coef) * _spread(low)


def _spread(group: torch.Tensor) -> torch.Tensor:
    """[N, T] float32: 1 / size of the group at its members, 0 elsewhere."""
    return group.float() / group.sum(dim=1, keepdim=True).clamp_min(1)


def _equal_rollout_weights(uid: Sequence[Hashable] | torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """[N] float32: 1/K for each of K siblings."""
    siblings = sibling_table(uid, len(mask)).to(mask.device)
    present = siblings >= 0
    weights = _spread(present)
    result = torch.zeros(len(mask), device=mask.device)
    result[siblings[present]] = weights[present]
    return result
