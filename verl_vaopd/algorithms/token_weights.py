"""One weight per token: what a distillation method is, once its divergence is chosen (Eq. 5-6 of arXiv:2605.21924).

Axes: N rollouts of all prompts, T tokens, B prompts, K siblings (rollouts of one prompt).

The loss of every method is sum over all tokens of token_weights * divergence, so it does not depend on how rollouts
are spread over micro-batches and ranks. For VA-OPD, with V_k the tokens of rollout k that have the highest visual
advantage and L_k the others, and w_k its weight among its siblings (Eq. 4):

    W_t = w_k / B * high_coef / |V_k|          t in V_k
    W_t = w_k / B * (1 - high_coef) / |L_k|    t in L_k
"""

from collections.abc import Hashable, Sequence
from fractions import Fraction

import torch

from verl_vaopd.algorithms import checks
from verl_vaopd.algorithms.visual_advantage import rollout_weights, sibling_table


@torch.no_grad()
def token_weights(
    visual_advantage: torch.Tensor,
    response_mask: torch.Tensor,
    uid: Sequence[Hashable] | torch.Tensor,
    high_frac: float = 0.2,
    high_coef: float = 0.5,
    temperature: float = 1.0,
    eps: float = 1e-6,
    rollout_weighting: bool = True,
    token_grouping: bool = True,
) -> torch.Tensor:
    """Weight of each token's divergence in the loss of VA-OPD, its two ablations and Standard OPD.

    Both switches off is Standard OPD: mean over a rollout's tokens, then over siblings, then over prompts.

    Args:
        visual_advantage: [N, T] float, nats. Constant.
        response_mask: [N, T] bool or 0/1.
        uid: N hashables or an integer tensor [N], one value per prompt, rows in any order. The uids present are the
            prompts of the whole batch: call this before the batch is split.
        high_frac: share of a rollout's tokens in its high group, in (0, 1]; rounded up to whole tokens.
        high_coef: share of a rollout's weight that its high group gets, in [0, 1]; all of it if no token is left for
            the low group.
        temperature: of the softmax over siblings.
        eps: nats, added to the standard deviation over siblings.
        rollout_weighting: siblings weighted by Eq. 3-4; otherwise all alike.
        token_grouping: tokens weighted in two groups (Eq. 5); otherwise all tokens of a rollout alike.
    Returns: [N, T] float32, >= 0; 0 where masked; sums to 1/B per uid. No gradient.
    Raises:
        ValueError: unequal shapes, an empty response, NaN or infinity at a valid token, a parameter out of range.
    """
    checks.require_fraction("high_coef", high_coef, zero_allowed=True)
    # Asked for even where its result is not used, so that a switch never hides broken input.
    weights_of_rollouts = rollout_weights(visual_advantage, response_mask, uid, temperature, eps)
    high = high_group(visual_advantage, response_mask, high_frac)
    mask = response_mask.bool()
    if not rollout_weighting:
        weights_of_rollouts = _equal_rollout_weights(uid, mask)
    within_rollout = _grouped_weights(high, mask, high_coef) if token_grouping else _spread(mask)
    num_prompts = len(sibling_table(uid, len(mask)))
    return weights_of_rollouts[:, None] / max(num_prompts, 1) * within_rollout


@torch.no_grad()
def high_group(visual_advantage: torch.Tensor, response_mask: torch.Tensor, high_frac: float) -> torch.Tensor:
    """The ceil(high_frac * T) tokens of each rollout that have the highest visual advantage (V_k of Eq. 5).

    Among equal tokens the earlier one comes first.

    Args:
        visual_advantage: [N, T] float, nats.
        response_mask: [N, T] bool or 0/1.
        high_frac: in (0, 1].
    Returns: [N, T] bool; False where masked.
    Raises:
        ValueError: unequal shapes, an empty response, NaN or infinity at a valid token, high_frac out of range.
    """
    checks.require_fraction("high_frac", high_frac, zero_allowed=False)
    checks.require_same_shape(visual_advantage=visual_advantage, response_mask=response_mask)
    mask = checks.valid_tokens(response_mask)
    checks.require_finite("visual_advantage", visual_advantage, mask)
    ranked = visual_advantage.float().masked_fill(~mask, -torch.inf)
    order = ranked.sort(dim=1, descending=True, stable=True).indices
    num_high = _ceil_share(high_frac, mask.sum(dim=1, keepdim=True))
    in_first_places = torch.arange(mask.shape[1], device=mask.device) < num_high
    return torch.zeros_like(mask).scatter_(1, order, in_first_places)


def _ceil_share(share: float, counts: torch.Tensor) -> torch.Tensor:
    """ceil(share * counts), at least 1, for the decimal number that was written.

    In floating point 0.1 * 30 can exceed 3 and would be rounded up to 4, hence integers throughout.
    """
    exact = Fraction(float(share)).limit_denominator(10**6)
    return ((exact.numerator * counts + exact.denominator - 1) // exact.denominator).clamp_min(1)


def _grouped_weights(high: torch.Tensor, mask: torch.Tensor, high_coef: float) -> torch.Tensor:
    """[N, T] weights that sum to 1 per rollout: high_coef over the high group, the rest over the low group."""
    low = mask & ~high
    coef = torch.where(low.any(dim=1, keepdim=True), high_coef, 1.0)
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
