import itertools
import math
import random

import numpy as np
import pytest

from verl_vaopd.evaluation.benchmarks import BENCHMARKS
from verl_vaopd.evaluation.benchmarks.hallusionbench import GROUPINGS, HallusionBench
from verl_vaopd.evaluation.headline import Headline, headline
from verl_vaopd.stats.estimates import cluster_bootstrap_interval, clustered_standard_error, standard_error_of
from verl_vaopd.stats.few_clusters import FEW_CLUSTERS, t_interval


def hallusion_rows(rng):
    """Sets of one to three figures with one to three questions each, in two categories."""
    rows, clusters = [], []
    for category, set_id in itertools.product(("VD", "VS"), range(4)):
        for figure, question in itertools.product(range(rng.randint(1, 3)), range(rng.randint(1, 3))):
            rows.append(
                {
                    "category": category,
                    "subcategory": "chart",
                    "set_id": str(set_id),
                    "figure_id": str(figure),
                    "question_id": str(question),
                    "parsed": "Yes",
                    "hit": float(rng.random() < 0.6),
                }
            )
            clusters.append(f"{category}_{set_id}")
    return rows, clusters


def wemath_rows(rng):
    rows, clusters = [], []
    for problem in range(9):
        steps = rng.choice((2, 3))
        for role in [*map(str, range(1, steps + 1)), "multi"]:
            rows.append({"ID": problem, "key": f"{steps}steps_{role}", "parsed": "A", "hit": float(rng.random() < 0.6)})
            clusters.append(str(problem))
    return rows, clusters


def accuracy_rows(rng):
    clusters = [str(rng.randrange(6)) for _ in range(30)]
    return [{"question": "q", "parsed": "A", "hit": float(rng.random() < 0.5)} for _ in clusters], clusters


MAKERS = {"hallusionbench": hallusion_rows, "wemath": wemath_rows, "mmstar": accuracy_rows}


def make(name, seed=0, num_passes=3):
    """Passes over the same questions with hits of their own."""
    rows, clusters = MAKERS[name](random.Random(seed))
    rng = random.Random(seed + 1)
    passes = [[{**row, "hit": float(rng.random() < 0.6)} for row in rows] for _ in range(num_passes)]
    if name == "mmstar":
        for rows in passes:
            for row in rows:
                row["category"] = row["l2_category"] = "x"
    return BENCHMARKS[name], passes, clusters


def aggregated(benchmark, passes):
    values = [benchmark.aggregate(rows)[benchmark.headline] / benchmark.max_points for rows in passes]
    return sum(values) / len(values)


@pytest.mark.parametrize("name", MAKERS)
def test_with_every_cluster_once_it_is_what_the_benchmark_says(name):
    for seed in range(5):
        benchmark, passes, clusters = make(name, seed)
        terms = headline(benchmark, passes, clusters)
        assert terms.value() == pytest.approx(aggregated(benchmark, passes), abs=1e-12)
        assert terms.contributions().sum() == pytest.approx(terms.value(), abs=1e-12)
        assert terms.influences().sum() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("name", MAKERS)
def test_leaving_clusters_out_is_what_the_benchmark_says_of_the_others(name):
    benchmark, passes, clusters = make(name)
    terms = headline(benchmark, passes, clusters)
    rng = np.random.default_rng(0)
    for _ in range(10):
        weights = rng.integers(0, 2, len(terms.clusters))
        weights[0] = 1
        kept = {cluster for cluster, weight in zip(terms.clusters, weights, strict=True) if weight}
        fewer = [[row for row, of in zip(rows, clusters, strict=True) if of in kept] for rows in passes]
        assert terms.resampled(weights[None].astype(float))[0] == pytest.approx(aggregated(benchmark, fewer), abs=1e-12)


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_units_of_either_grouping_of_hallusionbench_lie_within_its_clusters(grouping):
    """Both categories have figures and questions of the same numbers, which one of the groupings takes for one."""
    benchmark, (_, passes, _) = HallusionBench(grouping), make("hallusionbench")
    terms = headline(benchmark, passes, [benchmark.cluster(row, ()) for row in passes[0]])
    assert terms.value() == pytest.approx(aggregated(benchmark, passes), abs=1e-12)


def test_accuracy_has_the_clustered_standard_error_of_the_question_means():
    benchmark, passes, clusters = make("mmstar")
    terms = headline(benchmark, passes, clusters)
    hits = np.array([[row["hit"] for row in rows] for rows in passes]).T
    assert terms.standard_error() == pytest.approx(clustered_standard_error(hits, clusters), rel=1e-9)


@pytest.mark.parametrize("num_clusters", [FEW_CLUSTERS - 1, FEW_CLUSTERS])
def test_few_clusters_get_the_limits_of_students_t_and_many_those_of_the_bootstrap(num_clusters):
    values = np.random.default_rng(0).random(num_clusters)
    terms = Headline(values[None, None], np.ones((1, 1, num_clusters)), tuple(map(str, range(num_clusters))))
    student = t_interval(values.mean(), clustered_standard_error(values), num_clusters, within=(0.0, 1.0))
    expected = student if num_clusters < FEW_CLUSTERS else cluster_bootstrap_interval(values)
    assert terms.interval() == pytest.approx(expected, rel=1e-9)
    assert student != pytest.approx(cluster_bootstrap_interval(values), rel=1e-3)


def test_unscored_rows_count_nowhere():
    benchmark, passes, clusters = make("mmstar")
    for rows in passes:
        for row in rows[:7]:
            row["hit"] = None
    assert headline(benchmark, passes, clusters).value() == pytest.approx(aggregated(benchmark, passes), abs=1e-12)


def test_nothing_scored_is_nan():
    benchmark, passes, clusters = make("mmstar")
    passes = [[{**row, "hit": None} for row in rows] for rows in passes]
    assert math.isnan(headline(benchmark, passes, clusters).value())


def test_one_cluster_has_no_standard_error():
    assert math.isnan(standard_error_of(np.array([0.0])))
