"""Differences between two runs: against the closed forms of paired differences, and by simulation."""

from types import SimpleNamespace

import numpy as np
import pytest

from verl_vaopd.evaluation.comparison import Difference, describe, difference
from verl_vaopd.evaluation.headline import Headline
from verl_vaopd.stats.estimates import cluster_bootstrap_interval
from verl_vaopd.stats.few_clusters import t_interval
from verl_vaopd.stats.paired import minimum_detectable_difference, sign_flip_p_value

MANY = 40


def result_of(scores):
    """One question per cluster, with these mean scores."""
    scores = np.asarray(scores, dtype=float)
    terms = Headline(scores[None, None], np.ones((1, 1, len(scores))), tuple(map(str, range(len(scores)))))
    return SimpleNamespace(headline=terms)


def two_runs(num_clusters, seed=0):
    """Two runs that find the same questions hard."""
    rng = np.random.default_rng(seed)
    shared = rng.random(num_clusters)
    return [np.clip(shared + rng.normal(shift, 0.1, num_clusters), 0, 1) for shift in (0.05, 0.0)]


def test_a_difference_of_many_clusters_is_that_of_their_paired_differences():
    first, second = two_runs(MANY)
    found = difference("ai2d", result_of(first), result_of(second))
    paired = first - second
    assert (found.first, found.second) == pytest.approx((100 * first.mean(), 100 * second.mean()))
    assert found.value == pytest.approx(100 * paired.mean())
    assert (found.low, found.high) == pytest.approx([100 * x for x in cluster_bootstrap_interval(paired)])
    assert found.p_value == sign_flip_p_value(paired)
    error = paired.std(ddof=1) / np.sqrt(MANY)
    assert found.detectable == pytest.approx(100 * minimum_detectable_difference(error))
    assert found.num_clusters == MANY


def test_pairing_uses_that_both_find_the_same_questions_hard():
    first, second = two_runs(MANY)
    paired = difference("ai2d", result_of(first), result_of(second))
    shuffled = difference("ai2d", result_of(first), result_of(np.random.default_rng(1).permutation(second)))
    assert shuffled.value == pytest.approx(paired.value)
    assert paired.high - paired.low < 0.5 * (shuffled.high - shuffled.low)
    assert paired.p_value < 0.05 < shuffled.p_value


def test_few_clusters_get_students_t():
    first, second = two_runs(10)
    found = difference("ai2d", result_of(first), result_of(second))
    paired = first - second
    expected = t_interval(paired.mean(), paired.std(ddof=1) / np.sqrt(10), 10, within=(-1.0, 1.0))
    assert (found.low, found.high) == pytest.approx([100 * x for x in expected])
    two = difference("ai2d", result_of([1.0, 0.0]), result_of([0.0, 0.0]))
    assert (two.low, two.high) == (-100.0, 100.0)


def test_what_has_no_score_has_no_difference():
    nothing = SimpleNamespace(headline=Headline(np.zeros((1, 1, 3)), np.zeros((1, 1, 3)), ("a", "b", "c")))
    found = difference("ai2d", nothing, result_of([1.0, 0.0, 1.0]))
    assert np.isnan([found.value, found.low, found.high, found.p_value]).all()
    assert "| AI2D" in describe([found], "a", "b", "rule")


def test_the_detectable_difference_is_detected_in_80_of_100_worlds():
    rng = np.random.default_rng(0)
    size, spread = 60, 1.0
    shift = minimum_detectable_difference(spread / np.sqrt(size))
    p_values = [sign_flip_p_value(rng.normal(shift, spread, size), 1000, seed) for seed in range(500)]
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.8, abs=0.05)


def test_p_values_are_corrected_over_the_benchmarks_that_have_one():
    """0.01, 0.02 and 0.04 times 3, 2 and 1: 0.03, 0.04, 0.04."""
    names, p_values = ("wemath", "ai2d", "mmmu", "mmstar"), (0.04, 0.01, float("nan"), 0.02)
    rows = [
        Difference(name, 50.0, 49.0, float("nan") if p != p else 1.0, 0.5, 1.5, p, 2.0, 99)
        for name, p in zip(names, p_values, strict=True)
    ]
    lines = {
        line.split("|")[1].strip(): line.split("|")
        for line in describe(rows, "a", "b", "rule").splitlines()
        if "|" in line
    }
    assert [lines[title][7].strip() for title in ("WeMath", "AI2D", "MMStar")] == ["0.0400", "0.0300", "0.0400"]
    assert lines["AI2D"][5].strip() == "[+0.5, +1.5]" and lines["MMMU"][6].strip() == lines["MMMU"][7].strip() != ""
