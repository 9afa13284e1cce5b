"""Tests of paired differences between two models, cluster by cluster.

Axes: C clusters of questions, M comparisons.

Sources: sign-flip permutation, Fisher 1935; step-down correction, Holm 1979.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

NUM_FLIPS = 10_000
_BLOCK_SIGNS = 1 << 22  # 32 MB


def sign_flip_p_value(differences: np.ndarray | Sequence[float], num_flips: int = NUM_FLIPS, seed: int = 0) -> float:
    """Two-sided p-value of the sum of differences, if each sign was as likely as the other.

    (1 + the number of random sign patterns whose sum is as far from 0) / (1 + num_flips): never 0.

    Args:
        differences: [C], one per cluster. NaN is not allowed.
        num_flips: random patterns.
        seed: of them.
    Raises:
        ValueError: no difference or NaN.
    """
    values = np.asarray(differences, dtype=np.float64)
    if not len(values) or np.isnan(values).any():
        raise ValueError(
            f"differences: got {len(values)}, expected at least one and no NaN; leave unscored clusters out"
        )
    # Sums of equal terms in another order differ in their last digits.
    limit = abs(values.sum()) - 1e-9 * np.abs(values).sum()
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK_SIGNS // len(values))
    num_as_far = 0
    for start in range(0, num_flips, block):
        signs = rng.integers(0, 2, size=(min(block, num_flips - start), len(values)), dtype=np.int8) * 2.0 - 1.0
        num_as_far += int((np.abs(signs @ values) >= limit).sum())
    return (1 + num_as_far) / (1 + num_flips)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values [M] adjusted so that the chance of any false rejection among all M stays below the level.

    The i-th smallest (from 0) times M - i, never less than the ones before, at most 1.
    """
    order = np.argsort(p_values, kind="stable")
    factors = len(order) - np.arange(len(order))
    adjusted = np.minimum(np.maximum.accumulate(np.asarray(p_values, dtype=np.float64)[order] * factors), 1.0)
    return adjusted[np.argsort(order, kind="stable")].tolist()


def minimum_detectable_difference(standard_error: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """The true difference that a two-sided test at level alpha finds with chance power; unit of standard_error."""
    normal = NormalDist()
    return (normal.inv_cdf(1.0 - alpha / 2.0) + normal.inv_cdf(power)) * standard_error
