"""What k draws from a question's n samples hold: a right answer (pass@k), how many different ones, a majority.

The first two count one thing, the chance that k samples drawn without replacement include one of a class of answers, so
both are unbiased for k new samples (pass@k: Chen et al. 2021, arXiv:2107.03374, Eq. 1). Axes as in estimates.py.

Where some samples failed, questions with fewer than k have no unbiased estimate. They are left out and counted
(`n_empty_questions`), so that one failed answer among a thousand does not cost a report its largest k.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import replace
from itertools import combinations
from math import comb

import numpy as np

from verl_vaopd.stats.estimates import Estimate, Values, estimate_mean, sample_matrix

_MAX_SUBSETS = 20_000


def estimate_pass_at_k(correct: Values, k: int, seed: int = 0) -> Estimate:
    """Chance that at least one of k samples is right, mean over questions, with 95 % bootstrap interval over them.

    Args:
        correct: [Q, n] of 0 and 1, NaN for missing samples, or Q sequences.
        k: number of samples drawn, at least 1.
        seed: of the resampling; with the same questions it resamples the same ones for every k.
    Raises:
        ValueError: k below 1, or values other than 0 and 1.
    """
    _require_draws(k)
    num_right, num = count_right(correct)
    return _with_counts(estimate_mean(chance_of_any(num_right, num, k), seed=seed), num)


def estimate_distinct_answers(answers: Sequence[Sequence[Hashable]], k: int, seed: int = 0) -> Estimate:
    """Mean over questions of the number of different answers among k samples, with 95 % bootstrap interval over them.

    Args:
        answers, k: as question_distinct_answers.
        seed: of the resampling.
    """
    num = np.array([len(samples) for samples in answers], dtype=np.int64)
    return _with_counts(estimate_mean(question_distinct_answers(answers, k), seed=seed), num)


def question_distinct_answers(answers: Sequence[Sequence[Hashable]], k: int) -> np.ndarray:
    """Unbiased estimate of how many different answers k samples of each question hold; with k = n, their number.

    Args:
        answers: of each question, those of the samples that are present. None, a response without an answer, is a
            class of its own: all None of a question count as one answer.
        k: number of samples drawn, at least 1.
    Returns: [Q] float64 in [1, k]; NaN for a question with fewer than k samples.
    Raises:
        ValueError: k below 1.
    """
    _require_draws(k)
    classes = [list(Counter(samples).values()) for samples in answers]
    question_of = np.repeat(np.arange(len(classes)), [len(counts) for counts in classes])
    counts = np.array([count for of_question in classes for count in of_question], dtype=np.int64)
    num = np.array([sum(of_question) for of_question in classes], dtype=np.int64)
    chances = chance_of_any(counts, num[question_of], k)
    return np.where(num >= k, np.bincount(question_of, chances, minlength=len(num)), np.nan)


def count_right(correct: Values) -> tuple[np.ndarray, np.ndarray]:
    """[Q] int64 each: right samples and present samples. Raises ValueError for values other than 0, 1 and NaN."""
    matrix = sample_matrix(correct)
    present = ~np.isnan(matrix)
    if not np.isin(matrix[present], (0.0, 1.0)).all():
        raise ValueError("pass_at_k: got scores other than 0 and 1, expected right or wrong; apply a threshold first")
    return (matrix == 1.0).sum(axis=1), present.sum(axis=1)


def chance_of_any(num_hits: np.ndarray, num: np.ndarray, k: int) -> np.ndarray:
    """1 - C(num - num_hits, k) / C(num, k): chance that k of num items, drawn without replacement, include a hit.

    Args:
        num_hits: [M] int64, at most num.
        num: [M] int64.
        k: at least 1.
    Returns: [M] float64; NaN where num < k.
    """
    # As a product of k ratios, where factorials would overflow. With fewer than k misses one factor is exactly 0, as
    # the binomial is.
    steps = np.arange(k)
    ratios = ((num - num_hits)[:, None] - steps) / (np.maximum(num, k)[:, None] - steps)
    return np.where(num >= k, 1.0 - ratios.prod(axis=1), np.nan)


def _require_draws(k: int) -> None:
    if k < 1:
        raise ValueError(f"k: got {k}, expected at least 1 sample")


def _with_counts(estimate: Estimate, num: np.ndarray) -> Estimate:
    """Counts of samples in place of counts of questions."""
    n_samples = int(num.sum())
    return replace(estimate, n_samples=n_samples, n_missing_samples=int(num.max(initial=0)) * len(num) - n_samples)


def question_majority(answers: Sequence[Sequence[Hashable]], correct: Values, k: int) -> np.ndarray:
    """Chance that the most frequent answer among k of a question's samples is right.

    Of equally frequent answers each counts alike. None, a response without an answer, has no vote; k samples without
    any vote are wrong.

    Args:
        answers: [Q, n], or Q sequences, of the samples that are present.
        correct: as answers, 0 or 1 (samples with one answer may differ: their mean counts).
        k: number of samples drawn without replacement, at least 1.
    Returns: [Q] float64, the mean over all subsets of k samples; NaN for a question with fewer than k.
    Raises:
        ValueError: k below 1, or more than 20,000 subsets.
    """
    _require_draws(k)
    return np.array(
        [_majority(list(of_question), list(hits), k) for of_question, hits in zip(answers, correct, strict=True)]
    )


def _majority(answers: list[Hashable], hits: list[float], k: int) -> float:
    num_subsets = comb(len(answers), k)
    if num_subsets == 0:
        return float("nan")
    if num_subsets > _MAX_SUBSETS:
        raise ValueError(
            f"k: got {k} of {len(answers)} samples, {num_subsets} subsets; expected at most {_MAX_SUBSETS}"
        )
    right: dict[Hashable, list[float]] = {}
    for answer, hit in zip(answers, hits, strict=True):
        right.setdefault(answer, []).append(hit)
    share = {answer: sum(of_answer) / len(of_answer) for answer, of_answer in right.items()}
    total = 0.0
    for subset in combinations(answers, k):
        votes = Counter(answer for answer in subset if answer is not None)
        if votes:
            most = max(votes.values())
            winners = [share[answer] for answer, count in votes.items() if count == most]
            total += sum(winners) / len(winners)
    return total / num_subsets
