"""Several training runs of one method, which differ in their seed, and differences between two methods.

Axes: S seeds, Q questions, n samples of one question, R resamples.

A score is the mean over seeds of the mean over questions of the mean over samples. There are two sources of chance: the
questions that happened to be asked, the same ones in every run, and the seed of a training run. How seeds enter:

- `fixed`: they do not. The interval says how the score of these very runs would vary with other questions; how the runs
  differ is `per_seed`.
- `drawn`: resamples draw questions and, independently, seeds; a cell counts as often as both of its margins were drawn
  (the pigeonhole bootstrap for crossed factors, Owen 2007). So the interval is about new questions and new training
  runs. S seeds know their own spread poorly: resampling S of S narrows their share of the width by sqrt((S - 1) / S),
  0.71 for two seeds, and one seed has no share at all.

A difference pairs both: the same questions, and run s of one method with run s of the other, which had the same seed
and hence the same order of data. A question that lacks all samples in any run is left out of everything and counted.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from verl_vaopd.stats.estimates import (
    CONFIDENCE,
    NUM_RESAMPLES,
    Statistic,
    Values,
    cluster_bootstrap_interval,
    draw_counts,
    question_means,
    weighted_mean,
)

Seeds = Literal["fixed", "drawn"]


@dataclass(frozen=True)
class SeedEstimate:
    """A score over runs; low and high are NaN where fewer than two questions leave them undefined."""

    value: float
    low: float
    high: float
    per_seed: tuple[float, ...]
    n_questions: int  # part of value: with a sample in every run
    n_left_out: int


def estimate_over_seeds(
    runs: Sequence[Values],
    clusters: Sequence[Hashable] | np.ndarray | None = None,
    seeds: Seeds = "fixed",
    num_resamples: int = NUM_RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> SeedEstimate:
    """Mean over seeds and questions with a percentile bootstrap interval.

    Args:
        runs: S times values [Q], [Q, n] with NaN for missing samples, or Q sequences; question q is the same in all.
        clusters: cluster of each question, Q hashables; None makes each question its own.
        seeds: whether resamples keep the runs or draw among them (see above).
        num_resamples, confidence, seed: as estimates.cluster_bootstrap_interval.
    Raises:
        ValueError: no run, runs with different numbers of questions, and as cluster_bootstrap_interval.
    """
    return _estimate(_means(runs), clusters, seeds, num_resamples, confidence, seed)


def paired_difference(
    first: Sequence[Values],
    second: Sequence[Values],
    clusters: Sequence[Hashable] | np.ndarray | None = None,
    num_resamples: int = NUM_RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> SeedEstimate:
    """Score of first minus score of second, paired by question and by seed; resamples draw both.

    Args:
        first: as the runs of estimate_over_seeds.
        second: the same questions and seeds, in the same order.
        clusters, num_resamples, confidence, seed: as estimate_over_seeds, as are the errors.
    """
    minuend, subtrahend = _means(first), _means(second)
    if minuend.shape != subtrahend.shape:
        raise ValueError(
            f"second: got {subtrahend.shape} seeds and questions, expected {minuend.shape} as in first; "
            "pair what both have"
        )
    return _estimate(minuend - subtrahend, clusters, "drawn", num_resamples, confidence, seed)


def _means(runs: Sequence[Values]) -> np.ndarray:
    """[S, Q]"""
    means = [question_means(values) for values in runs]
    sizes = sorted({len(of_run) for of_run in means})
    if len(sizes) != 1:
        raise ValueError(f"runs: got {sizes or 'none'} questions, expected one number of them in every run")
    return np.stack(means)


def _estimate(
    means: np.ndarray,
    clusters: Sequence[Hashable] | np.ndarray | None,
    seeds: Seeds,
    num_resamples: int,
    confidence: float,
    seed: int,
) -> SeedEstimate:
    of_questions = means.mean(axis=0)  # NaN where a run lacks the question
    complete = means[:, ~np.isnan(of_questions)]
    # Another stream than that of the questions, so that both draws are independent.
    statistic = weighted_mean if seeds == "fixed" else _mean_of_drawn(complete, np.random.default_rng([seed, 1]))
    low, high = cluster_bootstrap_interval(of_questions, clusters, statistic, num_resamples, confidence, seed)
    per_seed = complete.mean(axis=1) if complete.size else np.full(len(means), np.nan)
    return SeedEstimate(
        value=float(per_seed.mean()),
        low=low,
        high=high,
        per_seed=tuple(per_seed.tolist()),
        n_questions=complete.shape[1],
        n_left_out=means.shape[1] - complete.shape[1],
    )


def _mean_of_drawn(means: np.ndarray, rng: np.random.Generator) -> Statistic:
    """A statistic that draws seeds anew for every resample of the questions; means: [S, Q] of all questions."""

    def statistic(_: np.ndarray, weights: np.ndarray) -> np.ndarray:
        share_of_seed = draw_counts(rng, len(weights), len(means)) / len(means)
        return (share_of_seed @ means * weights).sum(axis=1) / weights.sum(axis=1)

    return statistic
