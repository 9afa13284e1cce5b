"""The tokens of each rollout that count as high in visual advantage (V_k of Eq. 5 of arXiv:2605.21924).

The paper takes a fixed share of the tokens. Since visual advantage is near 0 at most tokens, such a group may hold many
that are no higher than the rest; two other rules, off by default, let each rollout have as many as it deserves.

Axes: N rollouts of all prompts, T tokens.
"""

from fractions import Fraction
from typing import Any

import torch

from verl_vaopd.algorithms import checks
from verl_vaopd.algorithms.measuring import HighGroup
from verl_vaopd.algorithms.options import options_from

# Rounding of a share times a sum, which must not cost a token more.
_MASS_TOLERANCE = 1e-12


@torch.no_grad()
def high_group(
    visual_advantage: torch.Tensor, response_mask: torch.Tensor, *options: HighGroup | float, **named: Any
) -> torch.Tensor:
    """The tokens of each rollout that have the highest visual advantage (V_k of Eq. 5).

    Among equal tokens the earlier one comes first.

    Args:
        visual_advantage: [N, T] float, nats; >= 0.
        response_mask: [N, T] bool or 0/1.
        options, named: a HighGroup, or its fields by name or by place. Rule "fraction": ceil(high_frac * T)
            tokens; "mass": as few tokens as hold high_mass of the rollout's summed visual advantage, none if the sum is
            0; "threshold": the tokens above high_threshold, if any. The options of the other rules are checked too.
    Returns: [N, T] bool; False where masked.
    Raises:
        ValueError: unequal shapes, an empty response, NaN or infinity at a valid token, an option out of range.
    """
    group = options_from(HighGroup, options, named, order=tuple(HighGroup.__dataclass_fields__))
    checks.require_same_shape(visual_advantage=visual_advantage, response_mask=response_mask)
    mask = checks.valid_tokens(response_mask)
    checks.require_finite("visual_advantage", visual_advantage, mask)
    advantage = visual_advantage.float()
    if group.high_rule == "threshold":
        return mask & (advantage > group.high_threshold)
    if group.high_rule == "mass":
        num_high = _num_holding(group.high_mass, torch.where(mask, advantage, 0.0))
    else:
        num_high = ceil_share(group.high_frac, mask.sum(dim=1, keepdim=True))
    return first_ranked(advantage, mask, num_high)


def first_ranked(scores: torch.Tensor, mask: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """The tokens of highest score of each rollout; among equal ones the earlier.

    Args:
        scores: [N, T] float32.
        mask: [N, T] bool; what scores hold outside it is ignored.
        counts: [N, 1] integer, 0 to the number of tokens in the mask.
    Returns: [N, T] bool.
    """
    order = scores.masked_fill(~mask, -torch.inf).sort(dim=1, descending=True, stable=True).indices
    in_first_places = torch.arange(mask.shape[1], device=mask.device) < counts
    return torch.zeros_like(mask).scatter_(1, order, in_first_places)


def ceil_share(share: float, counts: torch.Tensor) -> torch.Tensor:
    """ceil(share * counts) for the decimal number that was written; at least 1 unless share is 0.

    In floating point 0.1 * 30 can exceed 3 and would be rounded up to 4, hence integers throughout.
    """
    exact = Fraction(float(share)).limit_denominator(10**6)
    return ((exact.numerator * counts + exact.denominator - 1) // exact.denominator).clamp_min(1 if share > 0 else 0)


def _num_holding(share: float, advantage: torch.Tensor) -> torch.Tensor:
    """[N, 1]: how many of the largest entries of each row [T], >= 0, hold this share of their sum; 0 if that is 0."""
    held = advantage.double().sort(dim=1, descending=True).values.cumsum(dim=1)
    target = share * held[:, -1:] * (1 - _MASS_TOLERANCE)
    return torch.where(target > 0, (held < target).sum(dim=1, keepdim=True) + 1, 0)
