"""Perception terms of PAPO: an answer should depend on the image (Wang et al., arXiv:2507.06448).

Axes: N rollouts, T tokens. Of each sampled token, p is the policy's probability given the image and p_mask the one
given the masked image (images.patch_mask). PAPO adds to the policy-gradient loss

    -perception_coef * K_t + entropy_coef * (-log p) + entropy_coef * (-log p_mask)

    K_t = e^d - d - 1,  d = log p_mask - log p

K_t is the estimator "k3" of KL(p || p_mask) at the sampled token. It is maximised, and has no upper bound, which is why
both entropies (estimated at the sampled token as well) are minimised and d and K_t are limited.

What a gradient through log p_mask means. dK_t/d log p = 1 - e^d and dK_t/d log p_mask = e^d - 1. In the public code
log p_mask is computed once by the policy before its update, without gradient: the perception term then only moves what
the policy says to the image (a token likelier with the image becomes likelier still), and the last term is a constant
that trains nothing. With gradient the policy is also trained to answer worse on the masked image, which is the cheaper
way to a large K_t; entropy_coef pulls against it. Both are the caller's choice: detach masked_log_probs or not.
"""

import torch

from verl_vaopd.algorithms import checks
from verl_vaopd.algorithms.log_space import compute_dtype

LOG_RATIO_LIMIT = 20.0
PERCEPTION_KL_LIMIT = 10.0
# Below it, e^d - 1 - d is summed as a series: the subtraction would cancel the leading digits.
_SERIES_BELOW = 0.5
# The last term is then 2 * 0.5**15 / 17!, below the rounding of float64.
_LAST_TERM = 17


def perception_kl(log_probs: torch.Tensor, masked_log_probs: torch.Tensor) -> torch.Tensor:
    """K_t per token, in nats: how much more likely the image makes the sampled token than the masked image does.

    Elementwise, so what stands at masked tokens gives whatever it gives; perception_loss leaves them out.

    Args:
        log_probs: [N, T] or [N] float, nats, <= 0; gradient flows.
        masked_log_probs: the same shape, nats, <= 0; gradient flows if it carries one.
    Returns: float32 (float64 for float64 inputs) of that shape, 0 to PERCEPTION_KL_LIMIT. No gradient flows where d or
        K_t is cut off.
    Raises:
        ValueError: unequal shapes.
    """
    checks.require_same_shape(log_probs=log_probs, masked_log_probs=masked_log_probs)
    dtype = compute_dtype(log_probs, masked_log_probs)
    log_ratio = (masked_log_probs.to(dtype) - log_probs.to(dtype)).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    series = torch.ones_like(log_ratio)
    for factor in range(_LAST_TERM, 2, -1):
        series = 1 + log_ratio / factor * series
    small = log_ratio.square() / 2 * series
    large = torch.expm1(log_ratio) - log_ratio
    return torch.where(log_ratio.abs() < _SERIES_BELOW, small, large).clamp_max(PERCEPTION_KL_LIMIT)


def perception_loss(
    log_probs: torch.Tensor,
    masked_log_probs: torch.Tensor,
    token_weights: torch.Tensor,
    perception_coef: float,
    entropy_coef: float,
) -> torch.Tensor:
    """PAPO's terms beside the policy-gradient loss, summed over tokens with the given weights.

    Args:
        log_probs: [N, T] or [N] float, nats, <= 0; gradient flows.
        masked_log_probs: the same shape, nats, <= 0; gradient flows if it carries one, see the module docstring.
        token_weights: the same shape, >= 0, e.g. 1 / number of response tokens, 0 at masked tokens. What the other two
            hold where it is 0 is ignored, NaN included. Constant.
        perception_coef: gamma of the paper, >= 0.
        entropy_coef: eta of the paper, >= 0.
    Returns: scalar, float32 (float64 for float64 inputs).
    Raises:
        ValueError: unequal shapes, a negative coefficient, a weight that is negative or not finite, NaN or infinity at
            a token of weight above 0.
    """
    checks.require_not_negative("perception_coef", perception_coef)
    checks.require_not_negative("entropy_coef", entropy_coef)
    checks.require_same_shape(log_probs=log_probs, masked_log_probs=masked_log_probs, token_weights=token_weights)
    token_weights = token_weights.detach()
    if not (token_weights >= 0).all() or token_weights.isinf().any():
        raise ValueError(
            "token_weights: got a negative, infinite or NaN weight, expected finite numbers of at least 0; "
            "give masked tokens weight 0"
        )
    counted = token_weights > 0
    weights, clean, masked = token_weights[counted], log_probs[counted], masked_log_probs[counted]
    for name, values in (("log_probs", clean), ("masked_log_probs", masked)):
        if not values.isfinite().all():
            raise ValueError(
                f"{name}: got NaN or infinity at {int((~values.isfinite()).sum())} tokens of weight above 0, expected "
                "finite numbers; give masked tokens weight 0, and look at the model that produced the others"
            )
    divergence = perception_kl(clean, masked)
    weights, clean, masked = (values.to(divergence.dtype) for values in (weights, clean, masked))
    return (weights * (-perception_coef * divergence - entropy_coef * (clean + masked))).sum()
