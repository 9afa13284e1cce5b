import itertools
import math

import numpy as np
import pytest

from verl_vaopd.stats.estimates import chance_of_any, estimate_mean, question_pass_at_k
from verl_vaopd.stats.pass_at_k import estimate_distinct_answers, estimate_pass_at_k, question_distinct_answers

NAN = float("nan")


@pytest.mark.parametrize(("num", "hits"), [(num, hits) for num in range(6) for hits in range(num + 1)])
def test_the_chance_is_the_share_of_subsets_that_include_a_hit(num, hits):
    items = [True] * hits + [False] * (num - hits)
    for k in range(1, 7):
        subsets = list(itertools.combinations(items, k))
        expected = sum(map(any, subsets)) / len(subsets) if subsets else NAN
        assert chance_of_any(np.array([hits]), np.array([num]), k)[0] == pytest.approx(expected, nan_ok=True)


def test_pass_at_k_has_the_interval_of_a_mean_of_the_questions_estimates():
    correct = (np.random.default_rng(0).random((40, 16)) < 0.3).astype(float)
    for k in (1, 5, 16):
        of_questions = estimate_mean(question_pass_at_k(correct, k), seed=3)
        estimate = estimate_pass_at_k(correct, k, seed=3)
        assert (estimate.value, estimate.low, estimate.high) == (
            of_questions.value,
            of_questions.low,
            of_questions.high,
        )
        assert (estimate.n_questions, estimate.n_samples, estimate.n_missing_samples) == (40, 640, 0)
    assert estimate_pass_at_k(correct, 16).value == correct.any(axis=1).mean()


def test_questions_with_too_few_samples_are_left_out_of_pass_at_k_and_counted():
    """Question 0: 1 of 3 right, pass@3 = 1. Question 1: 2 samples. Question 2: none right."""
    correct = np.array([[1.0, 0.0, 0.0], [1.0, NAN, 1.0], [0.0, 0.0, 0.0]])
    estimate = estimate_pass_at_k(correct, 3)
    assert estimate.value == 0.5
    assert (estimate.n_questions, estimate.n_empty_questions) == (2, 1)
    assert (estimate.n_samples, estimate.n_missing_samples) == (8, 1)
    assert estimate_pass_at_k(correct, 2).value == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert math.isnan(estimate_pass_at_k(correct, 4).value)


def test_pass_at_k_refuses_graded_scores_and_no_draw():
    with pytest.raises(ValueError, match="0 and 1"):
        estimate_pass_at_k([[0.5]], 1)
    with pytest.raises(ValueError, match="k: got 0"):
        estimate_pass_at_k([[1.0]], 0)


def test_distinct_answers_of_all_samples_are_counted():
    answers = [["7", "7", "8", "9"], ["7", "7", "7", "7"], ["1", "2", "3", "4"]]
    assert question_distinct_answers(answers, 4).tolist() == [3.0, 1.0, 4.0]
    assert estimate_distinct_answers(answers, 4).value == pytest.approx(8 / 3)


def test_responses_without_an_answer_are_one_class_of_their_own():
    """ "None" as a text is an answer like any other."""
    assert question_distinct_answers([[None, None, "7"], ["None", None, "7"]], 3).tolist() == [2.0, 3.0]


@pytest.mark.parametrize("answers", [["a", "a", "b", "c", "c"], ["a", "a", "a", "a"], ["a", "b", "c", None]])
def test_distinct_answers_of_fewer_draws_are_the_mean_over_all_subsets(answers):
    for k in range(1, len(answers) + 1):
        subsets = list(itertools.combinations(answers, k))
        expected = sum(len(set(subset)) for subset in subsets) / len(subsets)
        assert question_distinct_answers([answers], k)[0] == pytest.approx(expected, rel=1e-12)


def test_questions_with_too_few_answers_are_left_out_and_counted():
    estimate = estimate_distinct_answers([["a", "b"], ["a"], []], 2)
    assert (estimate.value, estimate.n_questions, estimate.n_empty_questions) == (2.0, 1, 2)
    assert (estimate.n_samples, estimate.n_missing_samples) == (3, 3)


def test_distinct_answers_refuse_no_draw():
    with pytest.raises(ValueError, match="k: got 0"):
        question_distinct_answers([["a"]], 0)
