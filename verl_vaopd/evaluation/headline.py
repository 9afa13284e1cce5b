"""A benchmark's headline as a function of how often each cluster counts: what resampling whole clusters needs.

Axes: P passes, M parts, C clusters, R resamples.

Every headline is a mean of parts (Benchmark.headline_parts), each the mean over units that lie within one cluster:
questions, WeMath's problems, HallusionBench's figures. So with numerator and denominator of every cluster it is, for
cluster weights w,

    headline(w) = mean over passes and parts of (w . numerator) / (w . denominator)

and with all weights 1 what Benchmark.aggregate says. Both come from aggregate itself, asked about single clusters, so
no benchmark's grouping is written down twice. Scores are shares in [0, 1] here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from verl_vaopd.evaluation.benchmark import Benchmark
from verl_vaopd.stats.estimates import NUM_RESAMPLES, cluster_bootstrap_interval, standard_error_of
from verl_vaopd.stats.few_clusters import FEW_CLUSTERS, t_interval

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Headline:
    """Numerators and denominators [P, M, C] float64; a part's denominators are in units of one of them."""

    numerators: np.ndarray
    denominators: np.ndarray
    clusters: tuple[str, ...]

    def value(self) -> float:
        """The headline; NaN where nothing was scored."""
        return float(self.resampled(np.ones((1, len(self.clusters))))[0])

    def resampled(self, weights: np.ndarray) -> np.ndarray:
        """[R] under each row of weights [R, C]."""
        numerators, denominators = (terms @ weights.T for terms in (self.numerators, self.denominators))  # [P, M, R]
        with np.errstate(invalid="ignore", divide="ignore"):
            return (numerators / denominators).mean(axis=(0, 1))

    def influences(self) -> np.ndarray:
        """[C]: what each cluster adds to the headline's deviation from its expectation, to first order; sum 0."""
        totals = self.denominators.sum(axis=2, keepdims=True)
        with np.errstate(invalid="ignore"):  # nothing scored: NaN
            ratios = self.numerators.sum(axis=2, keepdims=True) / totals
            return ((self.numerators - ratios * self.denominators) / totals).mean(axis=(0, 1))

    def contributions(self) -> np.ndarray:
        """[C]: the part of the headline that comes from each cluster; their sum is the headline."""
        return (self.numerators / self.denominators.sum(axis=2, keepdims=True)).mean(axis=(0, 1))

    def interval(self, num_resamples: int = NUM_RESAMPLES) -> tuple[float, float]:
        """95 % interval: bootstrap over clusters, or Student's t if there are few."""
        if len(self.clusters) < FEW_CLUSTERS:
            return t_interval(self.value(), self.standard_error(), len(self.clusters), within=(0.0, 1.0))
        return cluster_bootstrap_interval(
            np.zeros(len(self.clusters)), statistic=lambda _, w: self.resampled(w), num_resamples=num_resamples
        )

    def standard_error(self) -> float:
        """As standard_error_of of the influences."""
        return standard_error_of(self.influences())


def headline(benchmark: Benchmark, passes: Sequence[Rows], cluster_of: Sequence[str]) -> Headline:
    """The terms of a benchmark's headline.

    Args:
        benchmark: whose rows they are.
        passes: P times the scored rows of all questions, in one order.
        cluster_of: cluster of every question.
    """
    clusters = tuple(dict.fromkeys(cluster_of))
    members: dict[str, list[int]] = {cluster: [] for cluster in clusters}
    for number, cluster in enumerate(cluster_of):
        members[cluster].append(number)
    terms = [_terms(benchmark, [[rows[i] for i in members[cluster]] for cluster in clusters]) for rows in passes]
    numerators, denominators = (np.stack(of_passes) for of_passes in zip(*terms, strict=True))
    if (denominators == denominators[0]).all():  # the mean of such ratios is the ratio of the mean: P times as fast
        numerators, denominators = numerators.mean(axis=0, keepdims=True), denominators[:1]
    return Headline(numerators, denominators, clusters)


def _terms(benchmark: Benchmark, groups: Sequence[Rows]) -> tuple[np.ndarray, np.ndarray]:
    """Numerators and denominators [M, C] of one pass; groups: the rows of every cluster."""
    values = np.array([_parts(benchmark, rows) for rows in groups]).T  # NaN: no unit of the part
    denominators = np.zeros_like(values)
    for number, present in enumerate(~np.isnan(values)):
        if not present.any():
            continue
        first, *others = np.flatnonzero(present)
        denominators[number, first] = 1.0
        reference = _with_hits(groups[first], 0.0)
        for cluster in others:
            # Beside the first, where nothing is right, a cluster where all is right scores d / (d + 1).
            share = _parts(benchmark, [*_with_hits(groups[cluster], 1.0), *reference])[number]
            denominators[number, cluster] = share / (1.0 - share)
    return np.nan_to_num(values) * denominators, denominators


def _parts(benchmark: Benchmark, rows: Rows) -> list[float]:
    metrics = benchmark.aggregate(rows)
    if benchmark.headline_parts:
        return [metrics[name] / 100.0 for name in benchmark.headline_parts]
    return [metrics[benchmark.headline] / benchmark.max_points]


def _with_hits(rows: Rows, hit: float) -> list[dict[str, Any]]:
    return [{**row, "hit": None if row["hit"] is None else hit} for row in rows]
