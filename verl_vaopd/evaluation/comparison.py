"""`vaopd eval compare A B`: the difference of two runs on every benchmark that both have, paired by cluster."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from verl_vaopd.evaluation.benchmarks import BENCHMARKS
from verl_vaopd.evaluation.headline import Headline
from verl_vaopd.evaluation.results import Result, benchmarks_in, common_protocol, read_result
from verl_vaopd.evaluation.tables import require_comparable
from verl_vaopd.stats.estimates import cluster_bootstrap_interval, standard_error_of
from verl_vaopd.stats.few_clusters import FEW_CLUSTERS, t_interval
from verl_vaopd.stats.paired import holm, minimum_detectable_difference, sign_flip_p_value
from verl_vaopd.stats.tables import ABSENT, markdown_table


@dataclass(frozen=True)
class Difference:
    """First run minus second, in points of per cent."""

    benchmark: str
    first: float
    second: float
    value: float
    low: float
    high: float
    p_value: float
    detectable: float
    """The true difference that would be found with a chance of 80 % at the level 5 %."""
    num_clusters: int


def difference(name: str, first: Result, second: Result) -> Difference:
    """Of one benchmark, whose questions must be the same in both; NaN where one of them has no score."""
    a, b = first.headline, second.headline
    value, error = a.value() - b.value(), standard_error_of(a.influences() - b.influences())
    p_value, low, high = math.nan, math.nan, math.nan
    if not math.isnan(value):
        p_value = sign_flip_p_value(a.contributions() - b.contributions())
        low, high = _interval(a, b, value, error)
    return Difference(
        benchmark=name,
        first=100.0 * a.value(),
        second=100.0 * b.value(),
        value=100.0 * value,
        low=100.0 * low,
        high=100.0 * high,
        p_value=p_value,
        detectable=100.0 * minimum_detectable_difference(error),
        num_clusters=len(a.clusters),
    )


def _interval(a: Headline, b: Headline, value: float, error: float) -> tuple[float, float]:
    """95 %, of the difference, as Headline.interval."""
    if len(a.clusters) < FEW_CLUSTERS:
        return t_interval(value, error, len(a.clusters), within=(-1.0, 1.0))
    return cluster_bootstrap_interval(
        np.zeros(len(a.clusters)), statistic=lambda _, weights: a.resampled(weights) - b.resampled(weights)
    )


def compare(first: Path, second: Path, protocol: str | None) -> str:
    """The comparison as a table.

    Raises:
        ValueError: nothing in common, and as tables.make_tables.
    """
    chosen = common_protocol([first, second], protocol)
    both = set(benchmarks_in(second, chosen))
    names = [name for name in benchmarks_in(first, chosen) if name in both]
    if not names:
        raise ValueError(f"compare: got {first} and {second}, which have no benchmark in common; evaluate one in both")
    results = [{name: read_result(run, name, chosen) for name in names} for run in (first, second)]
    require_comparable(results)
    return describe(
        [difference(name, results[0][name], results[1][name]) for name in names],
        first.resolve().name,
        second.resolve().name,
        chosen,
    )


def describe(differences: Sequence[Difference], first: str, second: str, protocol: str) -> str:
    """A table with p-values corrected by Holm's method over its benchmarks; those without score are not counted."""
    scored = [one for one in differences if not math.isnan(one.p_value)]
    corrected = dict(zip((one.benchmark for one in scored), holm([one.p_value for one in scored]), strict=True))
    rows = [["benchmark", first, second, "difference", "95 % interval", "p", "p (Holm)", "detectable", "clusters"]]
    for one in differences:
        title = BENCHMARKS[one.benchmark].title
        if math.isnan(one.value):
            rows.append([title, *[ABSENT] * 7, str(one.num_clusters)])
            continue
        rows.append(
            [
                title,
                f"{one.first:.1f}",
                f"{one.second:.1f}",
                f"{one.value:+.1f}",
                ABSENT if math.isnan(one.low) else f"[{one.low:+.1f}, {one.high:+.1f}]",
                f"{one.p_value:.4f}",
                f"{corrected[one.benchmark]:.4f}",
                ABSENT if math.isnan(one.detectable) else f"{one.detectable:.1f}",
                str(one.num_clusters),
            ]
        )
    return "\n\n".join(
        [
            f"{first} minus {second}, protocol {protocol}, in points of per cent.",
            markdown_table(rows),
            "p: sign-flip permutation over clusters; p (Holm): corrected over the benchmarks of this table; "
            "detectable: the true difference that is found with a chance of 80 % at the level 5 %. Intervals: paired "
            f"bootstrap over clusters, Student's t for fewer than {FEW_CLUSTERS}.",
        ]
    )
