"""The tokens of each rollout that count as high in visual advantage (V_k of Eq. 5 of arXiv:2605.21924).

The paper takes a fixed share of the tokens. Since visual advantage is near 0 at most tokens, such a group may hold many
that are no higher than the rest; two other rules, off by default, let each rollout have as many as it deserves.

Axes: N rollouts of all prompts, T tokens.
"""

from fractions import Fraction

import torch

from verl_vaopd.algorithms import checks

HIGH_RULES = ("fraction", "mass", "threshold")
DEFAULT_HIGH_FRAC = 0.2
DEFAULT_HIGH_MASS = 0.9
DEFAULT_HIGH_THRESHOLD = 0.1
# Rounding of a share times a sum, which must not cost a token more.
_MASS_TOLERANCE = 1e-12


@torch.no_grad()
def high_group(
    visual_advantage: torch.Tensor,
    response_mask: torch.Tensor,
    high_frac: float = DEFAULT_HIGH_FRAC,
    high_rule: str = "fraction",
    high_mass: float = DEFAULT_HIGH_MASS,
    high_threshold: float = DEFAULT_HIGH_THRESHOLD,
) -> torch.Tensor:
    """The tokens of each rollout that have the highest visual advantage (V_k of Eq. 5).

    Among equal tokens the earlier one comes first.

    Args:
        visual_advantage: [N, T] float, nats; >= 0.
        response_mask: [N, T] bool or 0/1.
        high_frac: in (0, 1]; rule "fraction": ceil(high_frac * T) tokens.
        high_rule: one of HIGH_RULES; the options of the other two are not used, but checked.
        high_mass: in (0, 1]; rule "mass": as few tokens as hold this share of the rollout's summed visual advantage;
            none if the sum is 0.
        high_threshold: nats, >= 0; rule "threshold": the tokens above it, if any.
    Returns: [N, T] bool; False where masked.
    Raises:
        ValueError: unequal shapes, an empty response, NaN or infinity at a valid token, an unknown rule, an option out
            of range.
    """
    if high_rule not in HIGH_RULES:
        raise ValueError(f"high_rule: got {high_rule!r}, expected one of {', '.join(HIGH_RULES)}; name one of them")
    checks.require_fraction("high_frac", high_frac, zero_allowed=False)
    checks.require_fraction("high_mass", high_mass, zero_allowed=False)
    checks.require_not_negative("high_threshold", high_threshold)
    checks.require_same_shape(visual_advantage=visual_advantage, response_mask=response_mask)
    mask = checks.valid_tokens(response_mask)
    checks.require_finite("visual_advantage", visual_advantage, mask)
    advantage = visual_advantage.float()
    if high_rule == "threshold":
        return mask & (advantage > high_threshold)
    if high_rule == "mass":
        num_high = _num_holding(high_mass, torch.where(mask, advantage, 0.0))
    else:
        num_high = ceil_share(high_frac, mask.sum(dim=1, keepdim=True))
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
