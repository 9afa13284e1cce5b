import itertools
import math

import numpy as np
import pytest

from verl_vaopd.stats import estimates as stats
from verl_vaopd.stats.estimates import (
    cluster_bootstrap_interval,
    clustered_standard_error,
    estimate_mean,
)

NAN = float("nan")


def test_a_mean_counts_questions_alike_whatever_their_samples():
    """Question means 1, 1/2 and 0: 1/2; the mean over all six samples would be 4/6."""
    ragged = [[1.0, 1.0, 1.0], [1.0, 0.0], [0.0]]
    masked = [[1.0, NAN, 1.0, 1.0], [NAN, 1.0, NAN, 0.0], [0.0, NAN, NAN, NAN]]
    assert estimate_mean(ragged).value == 0.5
    assert estimate_mean(np.array(masked)).value == 0.5


def test_question_without_samples_is_left_out_and_counted():
    estimate = estimate_mean([[1.0, 0.0], [], [1.0, NAN]])
    assert estimate.value == 0.75
    assert (estimate.n_questions, estimate.n_empty_questions, estimate.n_clusters) == (2, 1, 2)
    assert (estimate.n_samples, estimate.n_missing_samples) == (3, 3)


def test_nothing_sampled_is_nan():
    for values in ([], [[NAN, NAN]], [[], []]):
        assert math.isnan(estimate_mean(values).value)


@pytest.mark.parametrize(("confidence", "expected"), [(0.95, (0.0, 1.0)), (0.4, (0.5, 0.5))])
def test_bootstrap_of_two_questions(confidence, expected):
    """Means 0, 1/2, 1 come with probability 1/4, 1/2, 1/4; tails of 0.025 and 0.3."""
    assert cluster_bootstrap_interval([0.0, 1.0], confidence=confidence) == expected


@pytest.mark.parametrize(("confidence", "expected"), [(0.95, (0.0, 1.0)), (0.4, (0.75, 0.75))])
def test_bootstrap_draws_whole_clusters_of_unequal_size(confidence, expected):
    """Clusters of three ones and of one zero: AA gives 1, AB 3/4, BB 0."""
    values, clusters = [1.0, 0.0, 1.0, 1.0], ["A", "B", "A", "A"]
    assert cluster_bootstrap_interval(values, clusters, confidence=confidence) == expected


def test_bootstrap_follows_the_exact_distribution_over_all_resamples():
    """Five values in clusters of 2, 1, 2: all 27 resamples enumerated, quantile taken inside a step."""
    values, clusters = np.array([0.0, 3.0, 1.0, 7.0, 4.0]), np.array([0, 0, 1, 2, 2])
    exact = sorted(
        np.concatenate([values[clusters == c] for c in draw]).mean() for draw in itertools.product(range(3), repeat=3)
    )
    # 27 equally likely resamples; a tail of 3.5 / 27 ends inside the fourth smallest and fourth largest.
    low, high = cluster_bootstrap_interval(values, clusters, confidence=1 - 7 / 27, num_resamples=40_000)
    assert (low, high) == pytest.approx((exact[3], exact[-4]), abs=1e-12)


def test_bootstrap_of_many_questions_is_the_normal_interval():
    values = np.random.default_rng(3).normal(2.0, 1.5, size=2000)
    low, high = cluster_bootstrap_interval(values)
    half_width = 1.959964 * values.std() / math.sqrt(2000)
    assert (low, high) == pytest.approx((values.mean() - half_width, values.mean() + half_width), abs=0.03 * half_width)


def test_bootstrap_reduces_samples_to_question_means():
    values = np.random.default_rng(0).random((30, 4))
    assert cluster_bootstrap_interval(values, seed=5) == cluster_bootstrap_interval(values.mean(axis=1), seed=5)


def test_bootstrap_takes_any_statistic_of_weights():
    """Drawn questions counted: always Q for clusters of one. Of clusters of 2 and 1: from 2 (BB) to 4 (AA)."""

    def drawn(values, weights):
        assert weights.shape[1] == len(values)
        return weights.sum(axis=1)

    assert cluster_bootstrap_interval(np.arange(7.0), statistic=drawn) == (7.0, 7.0)
    assert cluster_bootstrap_interval([1.0, 2.0, 3.0], ["A", "A", "B"], statistic=drawn) == (2.0, 4.0)


def test_bootstrap_does_not_depend_on_the_block_size(monkeypatch):
    values = np.random.default_rng(1).random(23)
    whole = cluster_bootstrap_interval(values, num_resamples=1000)
    monkeypatch.setattr(stats, "_BLOCK_WEIGHTS", 23 * 7)
    assert cluster_bootstrap_interval(values, num_resamples=1000) == whole


def test_bootstrap_is_seeded():
    values = np.random.default_rng(1).random(50)
    assert cluster_bootstrap_interval(values, seed=1) == cluster_bootstrap_interval(values, seed=1)
    assert cluster_bootstrap_interval(values, seed=1) != cluster_bootstrap_interval(values, seed=2)


@pytest.mark.parametrize(("values", "clusters"), [([0.4], None), ([0.4, 0.6], ["A", "A"]), ([[NAN], [1.0]], None)])
def test_one_cluster_leaves_the_error_undefined(values, clusters):
    estimate = estimate_mean(values, clusters)
    assert not math.isnan(estimate.value)
    assert all(math.isnan(limit) for limit in (estimate.low, estimate.high, estimate.standard_error))


def test_standard_error_of_single_questions_is_the_textbook_one():
    values = np.random.default_rng(2).random(40)
    assert clustered_standard_error(values) == pytest.approx(values.std(ddof=1) / math.sqrt(40), rel=1e-12)


def test_standard_error_of_clusters_by_hand():
    """Mean 1/2; residuals sum to +1 in A, -1/2 in B, -1/2 in C; sqrt(3/2 * (1 + 1/4 + 1/4)) / 4 = 3/8."""
    assert clustered_standard_error([1.0, 1.0, 0.0, 0.0], ["A", "A", "B", "C"]) == pytest.approx(3 / 8, rel=1e-12)


def test_copies_of_a_question_add_no_precision():
    values = np.random.default_rng(4).random(25)
    copied, clusters = np.repeat(values, 3), np.repeat(np.arange(25), 3)
    assert clustered_standard_error(copied, clusters) == pytest.approx(clustered_standard_error(values), rel=1e-12)
    assert cluster_bootstrap_interval(copied, clusters) == pytest.approx(cluster_bootstrap_interval(values), rel=1e-12)
    assert clustered_standard_error(copied) < 0.6 * clustered_standard_error(values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clusters": ["A"]}, "clusters: got 1, expected 2"),
        ({"num_resamples": 0}, "num_resamples"),
        ({"confidence": 95}, "confidence"),
    ],
)
def test_bootstrap_refuses_what_makes_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        cluster_bootstrap_interval([0.0, 1.0], **options)


def test_values_must_be_finite_and_at_most_two_axes():
    with pytest.raises(ValueError, match="infinite value in question 1"):
        estimate_mean([[0.0], [math.inf]])
    with pytest.raises(ValueError, match="2 axes"):
        estimate_mean(np.zeros((2, 3, 4)))
