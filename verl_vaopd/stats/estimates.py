"""Scores over repeated samples and their error bars; one implementation for training's tables and for evaluation.

Axes: Q questions, n samples of one question, C clusters of questions, R resamples.

A score is a mean over questions of the mean over each question's samples, so every question counts alike whatever its
number of samples. Samples of one question, and questions about one image, are not independent: error bars treat the
cluster as the unit. Without clusters every question is one by itself, with all its samples.

Sources: clustered standard error, Liang and Zeger 1986, as used for
language models by Miller 2024 (arXiv:2411.00640), here with the factor C / (C - 1); bootstrap of whole clusters with
percentile limits, Davison and Hinkley 1997, sections 3.8 and 5.3.

Samples may be missing (a rollout that failed): pass NaN in a matrix, or one array per question. They are left out of
the question's mean and counted. A question without any sample is left out of the score and counted.

Beside this module: pass_at_k.py, pass@k and different answers; seeds.py, several training runs of a method and
differences between methods; few_clusters.py, intervals over few clusters; paired.py, tests of differences.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

NUM_RESAMPLES = 10_000
CONFIDENCE = 0.95
# Resamples are drawn in blocks of about this many weights (2 MB), so that memory does not grow with their number, and
# what is drawn stays in the cache.
_BLOCK_WEIGHTS = 1 << 18

Values = np.ndarray | Sequence[float] | Sequence[Sequence[float]] | Sequence[np.ndarray]
Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Estimate:
    """A score with its interval.

    low and high are NaN where fewer than two clusters leave them undefined; value too, where nothing was sampled.
    """

    value: float
    low: float
    high: float
    standard_error: float
    n_clusters: int
    n_questions: int  # part of value
    n_samples: int  # present
    n_missing_samples: int  # up to the largest number of samples any question has
    n_empty_questions: int  # not part of value: without any sample, or without enough for what is estimated


def sample_matrix(values: Values) -> np.ndarray:
    """Values as one matrix with NaN for missing samples.

    Args:
        values: [Q] (one value per question), [Q, n] with NaN for missing samples, or Q sequences of any lengths.
    Returns: [Q, n] float64; n is the largest number of samples of a question.
    Raises:
        ValueError: more than two axes, or an infinite value.
    """
    rows = [np.asarray(row, dtype=np.float64) for row in values]
    if any(row.ndim > 1 for row in rows):
        raise ValueError(
            f"values: got rows of {max(row.ndim for row in rows)} axes, expected [questions] or [questions, samples]; "
            "pass one number per sample"
        )
    rows = [np.atleast_1d(row) for row in rows]
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    matrix = np.full((len(rows), lengths.max(initial=0)), np.nan)
    matrix[np.arange(matrix.shape[1]) < lengths[:, None]] = np.concatenate(rows) if rows else []
    if np.isinf(matrix).any():
        question = int(np.flatnonzero(np.isinf(matrix).any(axis=1))[0])
        raise ValueError(f"values: got an infinite value in question {question}, expected numbers or NaN (missing)")
    return matrix


def question_means(values: Values) -> np.ndarray:
    """[Q] float64: mean of each question's samples that are present; NaN for a question without any."""
    matrix = sample_matrix(values)
    present = ~np.isnan(matrix)
    counts = present.sum(axis=1)
    sums = np.where(present, matrix, 0.0).sum(axis=1)
    return np.divide(sums, counts, out=np.full(len(matrix), np.nan), where=counts > 0)


def mean_of_present(values: np.ndarray) -> float:
    """Mean of the values [Q] that are not NaN; NaN for none."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else math.nan


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[R] float64: mean of values [Q] under each row of weights [R, Q]."""
    return weights @ values / weights.sum(axis=1)


def cluster_bootstrap_interval(
    values: Values,
    clusters: Sequence[Hashable] | np.ndarray | None = None,
    statistic: Statistic = weighted_mean,
    num_resamples: int = NUM_RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval, drawing whole clusters with all their questions and samples.

    With few clusters (below about 30) percentile intervals are too narrow; few_clusters.py has others. If all clusters
    agree, the interval has width 0: no resample can show what was never observed.

    Args:
        values: [Q], [Q, n] with NaN for missing samples, or Q sequences; reduced to a mean per question first.
        clusters: cluster of each question, Q hashables; None makes each question its own.
        statistic: (values [Q], weights [R, Q]) -> [R], where a weight says how often a resample holds the question.
        num_resamples: number of resamples.
        confidence: share of the resamples between low and high, in (0, 1).
        seed: of the resampling; the same seed and order of questions give the same interval.
    Returns: low and high; NaN if fewer than two clusters have a sample.
    Raises:
        ValueError: clusters of another length than values, num_resamples < 1, confidence outside (0, 1).
    """
    _check_resampling(num_resamples, confidence)
    means, cluster_of, num_clusters = _clustered_means(values, clusters)
    if num_clusters < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK_WEIGHTS // len(means))
    resampled = []
    for start in range(0, num_resamples, block):
        counts = draw_counts(rng, min(block, num_resamples - start), num_clusters)
        resampled.append(statistic(means, counts[:, cluster_of]))
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(np.concatenate(resampled), [tail, 1.0 - tail])
    return float(low), float(high)


def clustered_standard_error(values: Values, clusters: Sequence[Hashable] | np.ndarray | None = None) -> float:
    """Standard error of the mean over questions when questions of a cluster are correlated.

    sqrt(C / (C - 1) * sum over clusters of (sum over their questions of value - mean)^2) / Q; with one question per
    cluster this is the sample standard deviation over sqrt(Q).

    Args:
        values: as cluster_bootstrap_interval.
        clusters: as cluster_bootstrap_interval.
    Returns: in the unit of values; NaN if fewer than two clusters have a sample.
    Raises:
        ValueError: clusters of another length than values.
    """
    means, cluster_of, num_clusters = _clustered_means(values, clusters)
    if num_clusters < 2:
        return float("nan")
    residual_sums = np.bincount(cluster_of, weights=means - means.mean(), minlength=num_clusters)
    return standard_error_of(residual_sums) / len(means)


def standard_error_of(influences: np.ndarray) -> float:
    """Clustered standard error sqrt(C / (C - 1) * sum of squares) of influences [C] with sum 0; NaN for C < 2."""
    count = len(influences)
    return math.sqrt(count / (count - 1) * float(np.square(influences).sum())) if count > 1 else math.nan


def estimate_mean(
    values: Values,
    clusters: Sequence[Hashable] | np.ndarray | None = None,
    num_resamples: int = NUM_RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Estimate:
    """Mean over questions with cluster bootstrap interval, clustered standard error and counts.

    Arguments and errors are those of cluster_bootstrap_interval.
    """
    matrix = sample_matrix(values)
    means, _, num_clusters = _clustered_means(matrix, clusters)
    low, high = cluster_bootstrap_interval(
        matrix, clusters, num_resamples=num_resamples, confidence=confidence, seed=seed
    )
    n_samples = int((~np.isnan(matrix)).sum())
    return Estimate(
        value=mean_of_present(means),
        low=low,
        high=high,
        standard_error=clustered_standard_error(matrix, clusters),
        n_clusters=num_clusters,
        n_questions=len(means),
        n_samples=n_samples,
        n_missing_samples=matrix.size - n_samples,
        n_empty_questions=len(matrix) - len(means),
    )


def _clustered_means(
    values: Values, clusters: Sequence[Hashable] | np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, int]:
    """Means [Q'] of the questions that have samples, the number of each one's cluster [Q'], the number of clusters."""
    means = question_means(values)
    keys = range(len(means)) if clusters is None else list(clusters)
    if len(keys) != len(means):
        raise ValueError(f"clusters: got {len(keys)}, expected {len(means)}; pass one per question")
    number_of: dict[Hashable, int] = {}
    present = ~np.isnan(means)
    cluster_of = np.array(
        [number_of.setdefault(key, len(number_of)) for key, keep in zip(keys, present, strict=True) if keep],
        dtype=np.int64,
    )
    return means[present], cluster_of, len(number_of)


def draw_counts(rng: np.random.Generator, num_resamples: int, num_clusters: int) -> np.ndarray:
    """[R, C] float64: how often each cluster is among C drawn with replacement (a multinomial, rows sum to C)."""
    drawn = rng.integers(num_clusters, size=(num_resamples, num_clusters))
    # One histogram of all resamples at once: about three times as fast as Generator.multinomial.
    drawn += np.arange(num_resamples)[:, None] * num_clusters
    counts = np.bincount(drawn.ravel(), minlength=num_resamples * num_clusters)
    return counts.reshape(num_resamples, num_clusters).astype(np.float64)


def _check_resampling(num_resamples: int, confidence: float) -> None:
    if num_resamples < 1:
        raise ValueError(f"num_resamples: got {num_resamples}, expected at least 1; 10,000 is usual")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: got {confidence}, expected a share in (0, 1) such as 0.95")
