"""How often 95 % intervals hold the truth, on synthetic data whose truth is known."""

import numpy as np
import pytest

from verl_vaopd.evaluation.headline import Headline
from verl_vaopd.stats.estimates import cluster_bootstrap_interval, clustered_standard_error, question_means
from verl_vaopd.stats.few_clusters import t_interval

NUM_WORLDS = 1000
NUM_CLUSTERS = 80
FEW = 12
NORMAL = 1.959964


def _draw_world(rng, num_clusters=NUM_CLUSTERS):
    """Right or wrong of 4 samples, clusters of 1 to 4 questions; P(right) is shared in a cluster. Truth 0.4."""
    clusters = np.repeat(np.arange(num_clusters), rng.integers(1, 5, size=num_clusters))
    chance = rng.beta(0.8, 1.2, size=num_clusters)[clusters]
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
        margin = NORMAL * clustered_standard_error(correct, clusters)
        found["bootstrap"].append(cluster_bootstrap_interval(correct, clusters, num_resamples=1000))
        found["analytic"].append((mean - margin, mean + margin))
        margin = NORMAL * clustered_standard_error(correct)
        found["clusters ignored"].append((mean - margin, mean + margin))
    return {name: np.array(limits) for name, limits in found.items()}


def _coverage(limits, truth=0.4):
    limits = np.asarray(limits)
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


def test_few_clusters_need_students_t():
    rng = np.random.default_rng(21)
    found = {"t": [], "bootstrap": []}
    for _ in range(NUM_WORLDS):
        correct, clusters = _draw_world(rng, FEW)
        mean, error = question_means(correct).mean(), clustered_standard_error(correct, clusters)
        found["t"].append(t_interval(mean, error, FEW, within=(0.0, 1.0)))
        found["bootstrap"].append(cluster_bootstrap_interval(correct, clusters, num_resamples=500))
    assert 0.93 <= _coverage(found["t"]) <= 0.97
    assert _coverage(found["bootstrap"]) < 0.93


@pytest.fixture(scope="module")
def group_intervals():
    """Of aAcc and fAcc and their mean: clusters of 1 to 3 figures with 2 questions each, P(right) shared, 2 passes.

    P(right) is Beta(2, 1), so E[p] = 2/3, E[p^2] = 1/2, and the truth is their mean, 7/12.
    """
    rng = np.random.default_rng(22)
    found = {"bootstrap": [], "analytic": []}
    for _ in range(NUM_WORLDS):
        num_figures = rng.integers(1, 4, size=NUM_CLUSTERS)
        chance = rng.beta(2.0, 1.0, size=NUM_CLUSTERS)[:, None]
        right = rng.random((2, NUM_CLUSTERS, 3, 2)) < chance[..., None]
        right &= (np.arange(3) < num_figures[:, None])[..., None]
        numerators = np.stack([right.sum(axis=(2, 3)), right.all(axis=3).sum(axis=2)], axis=1).astype(float)
        denominators = np.broadcast_to(np.stack([2.0 * num_figures, num_figures]), numerators.shape)
        terms = Headline(numerators, denominators, tuple(map(str, range(NUM_CLUSTERS))))
        margin = NORMAL * terms.standard_error()
        found["bootstrap"].append(terms.interval(num_resamples=500))
        found["analytic"].append((terms.value() - margin, terms.value() + margin))
    return found


@pytest.mark.parametrize("kind", ["bootstrap", "analytic"])
def test_intervals_of_group_metrics_hold_the_truth_in_95_of_100(group_intervals, kind):
    assert 0.93 <= _coverage(group_intervals[kind], truth=7 / 12) <= 0.97
