import itertools

import numpy as np
import pytest

from verl_vaopd.stats.paired import holm, minimum_detectable_difference, sign_flip_p_value


def test_sign_flips_agree_with_all_sign_patterns():
    differences = [0.3, -0.1, 0.2, 0.5, -0.05, 0.0, 0.25, 0.1]
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((-1, 1), repeat=8)
    ]
    exact = sum(value >= abs(sum(differences)) - 1e-12 for value in sums) / len(sums)
    assert sign_flip_p_value(differences, 40_000) == pytest.approx(exact, abs=0.01)


def test_sign_flips_of_no_difference_and_of_the_largest():
    assert sign_flip_p_value(np.zeros(5)) == 1.0
    assert sign_flip_p_value(np.ones(100)) == 1 / 10_001
    assert sign_flip_p_value(-np.ones(100)) == 1 / 10_001
    with pytest.raises(ValueError, match="no NaN"):
        sign_flip_p_value([0.1, float("nan")])


def test_rounding_keeps_no_pattern_out():
    """Of differences of one sign, two patterns of 2^7 are as far as what was seen, however their sum is rounded."""
    rng = np.random.default_rng(0)
    found = [sign_flip_p_value(rng.integers(1, 100, 7) / 10, 2_000) for _ in range(50)]
    np.testing.assert_allclose(found, 2 / 2**7, atol=0.01)
    assert min(found) > 0.008


def test_sign_flips_reject_one_true_hypothesis_in_twenty():
    rng = np.random.default_rng(0)
    p_values = [sign_flip_p_value(rng.normal(size=30), 500, seed) for seed in range(600)]
    assert 0.03 < np.mean(np.array(p_values) <= 0.05) < 0.07


def test_holm_by_hand():
    """Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.04, which must not fall: 0.06."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def test_minimum_detectable_difference_is_found_with_the_promised_chance():
    assert minimum_detectable_difference(1.0) == pytest.approx(1.959964 + 0.841621, abs=1e-6)
    drawn = np.random.default_rng(0).normal(minimum_detectable_difference(2.0, power=0.9), 2.0, 200_000)
    assert np.mean(np.abs(drawn) > 1.959964 * 2.0) == pytest.approx(0.9, abs=0.005)
