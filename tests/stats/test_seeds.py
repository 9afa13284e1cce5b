import itertools
import math

import numpy as np
import pytest

from verl_vaopd.stats.estimates import cluster_bootstrap_interval, estimate_mean
from verl_vaopd.stats.seeds import estimate_over_seeds, paired_difference

NAN = float("nan")


def test_seeds_questions_and_samples_are_averaged_in_that_order():
    """Seed 0: (1 + 1/2) / 2 = 3/4. Seed 1: (0 + 1) / 2 = 1/2, whatever the number of samples."""
    estimate = estimate_over_seeds([[[1.0, 1.0, 1.0], [1.0, 0.0]], [[0.0], [1.0, 1.0]]])
    assert estimate.per_seed == (0.75, 0.5)
    assert estimate.value == 0.625
    assert (estimate.n_questions, estimate.n_left_out) == (2, 0)


def test_a_question_without_samples_in_one_run_is_left_out_of_all():
    first, second = [[1.0], [1.0], [0.0]], [[0.0], [NAN], [1.0]]
    estimate = estimate_over_seeds([first, second])
    assert estimate.per_seed == (0.5, 0.5)
    assert (estimate.n_questions, estimate.n_left_out) == (2, 1)


@pytest.mark.parametrize("seeds", ["fixed", "drawn"])
def test_one_run_has_the_interval_of_its_questions(seeds):
    values = np.random.default_rng(0).random((30, 4))
    plain, estimate = estimate_mean(values, seed=5), estimate_over_seeds([values], seeds=seeds, seed=5)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((plain.value, plain.low, plain.high))


def test_fixed_seeds_have_the_interval_of_the_questions_means_over_seeds():
    values = np.random.default_rng(1).random((3, 30))
    estimate = estimate_over_seeds(values)
    assert (estimate.low, estimate.high) == pytest.approx(cluster_bootstrap_interval(values.mean(axis=0)))


def test_runs_that_differ_by_a_constant_widen_the_interval_of_drawn_seeds_alone():
    """Two seeds, all questions alike within each: a resample is 0, 1/2 or 1 with probability 1/4, 1/2, 1/4."""
    runs = [np.zeros(20), np.ones(20)]
    fixed, drawn = (estimate_over_seeds(runs, seeds=seeds) for seeds in ("fixed", "drawn"))
    assert (fixed.low, fixed.high) == (0.5, 0.5)
    assert (drawn.low, drawn.high) == (0.0, 1.0)
    narrow = estimate_over_seeds(runs, seeds="drawn", confidence=0.4)  # tails of 0.3
    assert (narrow.low, narrow.high) == (0.5, 0.5)


def test_drawn_seeds_follow_the_exact_distribution_over_all_resamples():
    """2 seeds x 2 questions: all 16 resamples of margins, each cell as often as both of its margins."""
    values = np.array([[0.0, 1.0], [5.0, 20.0]])
    pairs = list(itertools.product(range(2), repeat=2))
    exact = sorted(values[np.ix_(seeds, questions)].mean() for seeds in pairs for questions in pairs)
    tail = 1.5 / 16  # inside the second smallest and second largest resample
    estimate = estimate_over_seeds(values, seeds="drawn", confidence=1 - 2 * tail, num_resamples=40_000)
    assert (estimate.low, estimate.high) == pytest.approx((exact[1], exact[-2]))


def test_the_difference_pairs_questions_and_seeds():
    """The same questions are hard for both and the same seed is bad for both: what they share cancels."""
    rng = np.random.default_rng(2)
    shared = 3 * rng.random(50) + np.array([[0.0], [10.0]])
    difference = paired_difference(shared + 0.25, shared)
    assert difference.value == pytest.approx(0.25)
    assert (difference.low, difference.high) == pytest.approx((0.25, 0.25))
    assert difference.per_seed == pytest.approx((0.25, 0.25))


def test_the_difference_changes_its_sign_with_the_order():
    first, second = np.random.default_rng(3).random((2, 3, 25, 2))
    there, back = paired_difference(first, second, seed=1), paired_difference(second, first, seed=1)
    assert there.value == pytest.approx(first.mean() - second.mean())
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))


def test_the_difference_leaves_out_what_either_lacks():
    difference = paired_difference([[1.0, NAN, 0.0]], [[0.0, 1.0, NAN]])
    assert (difference.value, difference.n_questions, difference.n_left_out) == (1.0, 1, 2)
    assert math.isnan(difference.low)


def test_clusters_are_drawn_whole():
    values = np.random.default_rng(4).random((2, 20))
    copied, clusters = np.repeat(values, 3, axis=1), np.repeat(np.arange(20), 3)
    whole, alone = estimate_over_seeds(copied, clusters, "drawn"), estimate_over_seeds(values, None, "drawn")
    assert (whole.low, whole.high) == pytest.approx((alone.low, alone.high), rel=1e-12)


def test_the_interval_does_not_depend_on_the_block_size_of_the_questions_draw(monkeypatch):
    values = np.random.default_rng(5).random((1, 23))
    whole = estimate_over_seeds(values, num_resamples=1000)
    monkeypatch.setattr("verl_vaopd.stats.estimates._BLOCK_WEIGHTS", 23 * 7)
    assert estimate_over_seeds(values, num_resamples=1000) == whole


def _coverage(num_seeds, num_worlds=300):
    """Share of worlds whose 95 % interval holds the true difference 0: seeds, questions and noise all vary."""
    rng, held = np.random.default_rng(6), 0
    for world in range(num_worlds):
        shape = (2, num_seeds, 40)
        scores = rng.normal(0, 0.1, (2, num_seeds, 1)) + rng.normal(0, 0.3, (1, 1, 40)) + rng.normal(0, 0.4, shape)
        interval = paired_difference(scores[0], scores[1], num_resamples=400, seed=world)
        held += interval.low <= 0 <= interval.high
    return held / num_worlds


def test_the_interval_of_a_difference_holds_the_truth():
    assert 0.92 <= _coverage(num_seeds=8) <= 0.99


def test_no_run_and_runs_of_other_questions_are_refused():
    with pytest.raises(ValueError, match="got none questions"):
        estimate_over_seeds([])
    with pytest.raises(ValueError, match=r"got \[2, 3\] questions"):
        estimate_over_seeds([[1.0, 0.0], [1.0, 0.0, 1.0]])
    with pytest.raises(ValueError, match=r"second: got \(1, 2\).*expected \(2, 2\)"):
        paired_difference([[1.0, 0.0]] * 2, [[1.0, 0.0]])
