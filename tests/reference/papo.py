"""PAPO's perception terms (arXiv:2507.06448) in plain Python numbers, one loop over tokens."""

import math


def perception_kl(log_prob: float, masked_log_prob: float) -> float:
    """K_t = e^d - d - 1 with d = log p_mask - log p within +-20, at most 10.

    For small d by the power series of e^d without its first two terms: no digits cancel.
    """
    d = min(max(masked_log_prob - log_prob, -20.0), 20.0)
    if abs(d) > 1:
        return min(math.exp(d) - d - 1, 10.0)
    return math.fsum(d**n / math.factorial(n) for n in range(2, 30))


def perception_loss(
    log_probs: list[float],
    masked_log_probs: list[float],
    weights: list[float],
    perception_coef: float,
    entropy_coef: float,
) -> float:
    """Perception KL maximised, both entropies minimised."""
    total = 0.0
    for log_prob, masked_log_prob, weight in zip(log_probs, masked_log_probs, weights, strict=True):
        total += weight * -perception_coef * perception_kl(log_prob, masked_log_prob)
        total += weight * entropy_coef * -log_prob
        total += weight * entropy_coef * -masked_log_prob
    return total
