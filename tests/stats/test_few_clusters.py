import math

import numpy as np
import pytest

from verl_vaopd.stats.few_clusters import t_interval, t_quantile


@pytest.mark.parametrize(
    ("degrees", "quantile"), [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (9, 2.2622), (28, 2.0484)]
)
def test_quantiles_are_those_of_the_printed_tables(degrees, quantile):
    assert t_quantile(0.95, degrees) == pytest.approx(quantile, abs=5e-5)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.99])
def test_closed_forms_of_one_and_two_degrees(confidence):
    """One: tan(pi/2 c). Two: c sqrt(2 / (1 - c^2))."""
    assert t_quantile(confidence, 1) == pytest.approx(math.tan(math.pi / 2 * confidence), rel=1e-9)
    assert t_quantile(confidence, 2) == pytest.approx(confidence * math.sqrt(2 / (1 - confidence**2)), rel=1e-9)


def test_many_degrees_are_normal():
    assert t_quantile(0.95, 5000) == pytest.approx(1.959964, abs=1e-3)


def test_limits_by_hand_and_within_what_is_possible():
    """Four clusters: 3.1824 standard errors on either side."""
    low, high = t_interval(0.5, 0.1, 4, within=(0.0, 1.0))
    assert (low, high) == pytest.approx((0.5 - 0.31824, 0.5 + 0.31824), abs=1e-5)
    assert t_interval(0.5, 0.5, 2, within=(0.0, 1.0)) == (0.0, 1.0)
    assert t_interval(0.5, 0.5, 2, within=(-1.0, 1.0)) == (-1.0, 1.0)


@pytest.mark.parametrize(("value", "error", "clusters"), [(0.5, 0.1, 1), (math.nan, 0.1, 5), (0.5, math.nan, 5)])
def test_no_limits_without_a_spread(value, error, clusters):
    assert np.isnan(t_interval(value, error, clusters, within=(0.0, 1.0))).all()
