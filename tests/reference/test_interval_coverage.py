"""How often 95 % intervals hold the truth, on synthetic data whose truth is known."""

import numpy as np
import pytest

from verl_vaopd.evaluation.statistics import cluster_bootstrap_interval, clustered_standard_error, question_means

NUM_WORLDS = 1000
NUM_CLUSTERS = 80


def _draw_world(rng):
    """Right or wrong of 4 samples, clusters of 1 to 4 questions; P(right) is shared in a cluster. Truth 0.4."""
    clusters = np.repeat(np.arange(NUM_CLUSTERS), rng.integers(1, 5, size=NUM_CLUSTERS))
    chance = rng.beta(0.8, 1.2, size=NUM_CLUSTERS)[clusters]
    correct = (rng.random((len(clusters), 4)) < chance[:, None]).astype(float)
    correct[:, 1:][rng.random((len(clusters), 3)) < 0.1] = np.nan  # failed samples
    return correct, clusters


@pytest.fixture(scope="module")
def intervals():
    rng = np.random.default_rng(20)
    found = {"bootstrap": [], "analytic": [], "clusters ignored": []}
    for _ in range(NUM_WORLDS):
        correct, clusters = _draw_world(rng)
        mean = question_means(correct).mean()
        margin = 1.959964 * clustered_standard_error(correct, clusters)
        found["bootstrap"].append(cluster_bootstrap_interval(correct, clusters, num_resamples=1000))
        found["analytic"].append((mean - margin, mean + margin))
        margin = 1.959964 * clustered_standard_error(correct)
        found["clusters ignored"].append((mean - margin, mean + margin))
    return {name: np.array(limits) for name, limits in found.items()}


def _coverage(limits, truth=0.4):
    return np.mean((limits[:, 0] <= truth) & (truth <= limits[:, 1]))


@pytest.mark.parametrize("kind", ["bootstrap", "analytic"])
def test_clustered_intervals_hold_the_truth_in_95_of_100(intervals, kind):
    assert 0.93 <= _coverage(intervals[kind]) <= 0.97


@pytest.mark.parametrize("kind", ["bootstrap", "analytic"])
def test_misses_fall_on_both_sides(intervals, kind):
    too_high, too_low = (intervals[kind][:, 0] > 0.4).mean(), (intervals[kind][:, 1] < 0.4).mean()
    assert min(too_high, too_low) > 0.01


def test_the_simulation_can_tell_clustered_from_not(intervals):
    assert _coverage(intervals["clusters ignored"]) < 0.9
