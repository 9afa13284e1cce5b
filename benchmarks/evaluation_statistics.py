"""Time and memory of the evaluation's statistics at full size: 14,119 questions, 8 samples of each, 10,000 resamples.

    python -m benchmarks.evaluation_statistics [--resamples N] [--loop-resamples N] [--repeats N]

Questions and clusters are as many as in the paper's eight benchmarks (problems of WeMath and MathVerse, figures of
HallusionBench, else the question). The peer is a loop that draws clusters, puts their questions together and takes the
mean, with numpy inside one resample; it makes fewer resamples and is scaled. All take turns in one process; medians of
seconds after one round of warm-up, on the wall clock and of processor time, which other work on the machine changes
less. Memory is the rise of the resident set's peak over our bootstrap, before the loop runs.

Writes benchmarks/results/evaluation_statistics_cpu.json.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe_machine, resident_bytes, write_result
from verl_vaopd.stats.estimates import NUM_RESAMPLES, cluster_bootstrap_interval
from verl_vaopd.stats.paired import sign_flip_p_value

RESULT = Path(__file__).parent / "results" / "evaluation_statistics_cpu.json"
# Questions and clusters of WeMath, MathVista, MathVerse, HallusionBench, AI2D, MMMU, MMStar, OCRBench.
SIZES = ((1740, 525), (1000, 1000), (3940, 788), (951, 346), (3088, 3088), (900, 900), (1500, 1500), (1000, 1000))
NUM_SAMPLES = 8


def main() -> None:
    """Measures, prints and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resamples", type=int, default=NUM_RESAMPLES)
    parser.add_argument("--loop-resamples", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    values, clusters = make_scores(rng)
    differences = rng.normal(size=clusters.max() + 1)
    before = resident_bytes("VmRSS")
    ours = cluster_bootstrap_interval(values, clusters, num_resamples=options.resamples)
    memory = resident_bytes("VmHWM") - before
    forms: dict[str, Callable[[], Any]] = {
        "bootstrap": lambda: cluster_bootstrap_interval(values, clusters, num_resamples=options.resamples),
        "bootstrap_without_clusters": lambda: cluster_bootstrap_interval(values, num_resamples=options.resamples),
        "sign_flips": lambda: sign_flip_p_value(differences, num_flips=options.resamples),
        "loop": lambda: loop_interval(values, clusters, options.loop_resamples),
    }
    seconds = times(forms, options.repeats)
    medians, of_core = (
        {form: statistics.median(pair[i] for pair in of_form) for form, of_form in seconds.items()} for i in (0, 1)
    )
    scale = options.resamples / options.loop_resamples
    result = {
        "machine": describe_machine(),
        "questions": len(values),
        "clusters": int(clusters.max()) + 1,
        "samples_per_question": NUM_SAMPLES,
        "resamples": options.resamples,
        "loop_resamples": options.loop_resamples,
        "seconds_median": medians,
        "core_seconds_median": of_core,
        "seconds_and_core_seconds": seconds,
        "loop_seconds_scaled": medians["loop"] * scale,
        "loop_core_seconds_scaled": of_core["loop"] * scale,
        "memory_bytes": memory,
        "intervals": {"ours": ours, "loop": loop_interval(values, clusters, options.loop_resamples)},
    }
    result["time_ratio"] = medians["bootstrap"] / result["loop_seconds_scaled"]
    result["core_time_ratio"] = of_core["bootstrap"] / result["loop_core_seconds_scaled"]
    write_result(RESULT, result)
    print(
        f"{options.resamples} resamples of {len(values)} x {NUM_SAMPLES} in {result['clusters']} clusters: "
        f"{medians['bootstrap']:.2f} s ({of_core['bootstrap']:.2f} s of a core), loop "
        f"{result['loop_seconds_scaled']:.0f} s ({result['loop_core_seconds_scaled']:.0f} s), {memory / 1e6:.0f} MB"
    )


def make_scores(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Right and wrong answers [Q, n] float64 and the cluster of each question [Q] int64."""
    clusters: list[np.ndarray] = []
    for num_questions, num_clusters in SIZES:
        first = sum(of_benchmark[1] for of_benchmark in SIZES[: len(clusters)])
        clusters.append(first + np.arange(num_questions) % num_clusters)
    cluster_of = np.concatenate(clusters)
    # Questions of a cluster are alike hard.
    chance = rng.beta(1, 1, size=cluster_of.max() + 1)[cluster_of]
    return (rng.random((len(cluster_of), NUM_SAMPLES)) < chance[:, None]).astype(np.float64), cluster_of


def loop_interval(values: np.ndarray, clusters: np.ndarray, num_resamples: int) -> tuple[float, float]:
    """95 % percentile limits, one resample after the other."""
    members = [np.flatnonzero(clusters == cluster) for cluster in range(clusters.max() + 1)]
    rng = np.random.default_rng(1)
    means = []
    for _ in range(num_resamples):
        drawn = rng.integers(len(members), size=len(members))
        means.append(values[np.concatenate([members[cluster] for cluster in drawn])].mean())
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def times(forms: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds of each form, on the wall clock and of all cores, in turns."""
    seconds: dict[str, list[tuple[float, float]]] = {form: [] for form in forms}
    for repeat in range(repeats + 1):
        for form, run in forms.items():
            start = time.perf_counter(), time.process_time()
            run()
            if repeat:
                seconds[form].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return seconds


if __name__ == "__main__":
    main()
