import itertools
import math
from math import comb

import numpy as np
import pytest

from verl_vaopd.stats.estimates import estimate_mean
from verl_vaopd.stats.pass_at_k import (
    chance_of_any,
    count_right,
    estimate_distinct_answers,
    estimate_pass_at_k,
    question_distinct_answers,
    question_majority,
)

NAN = float("nan")


def test_the_chance_is_the_share_of_subsets_that_include_a_hit():
    for num, k in itertools.product(range(7), range(1, 8)):
        for hits in range(num + 1):
            subsets = list(itertools.combinations([True] * hits + [False] * (num - hits), k))
            expected = sum(map(any, subsets)) / len(subsets) if subsets else NAN
            found = chance_of_any(np.array([hits]), np.array([num]), k)[0]
            assert found == pytest.approx(expected, nan_ok=True, abs=1e-12), (num, hits, k)


def test_every_question_has_its_own_number_of_samples():
    """1 of 4: 1 - C(3, 2) / C(4, 2) = 1/2. 1 of 3: 1 - C(2, 2) / C(3, 2) = 2/3."""
    correct = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, NAN, 1.0, 0.0], [NAN, NAN, NAN, NAN]])
    np.testing.assert_allclose(chance_of_any(*count_right(correct), 2), [1 / 2, 2 / 3, NAN], rtol=1e-12)
    assert estimate_pass_at_k(correct, 2).value == pytest.approx(7 / 12)


def test_pass_at_k_is_exact_where_factorials_overflow():
    """c = 1: pass@k = k / n."""
    correct = np.zeros((1, 2000))
    correct[0, 7] = 1.0
    assert estimate_pass_at_k(correct, 500).value == pytest.approx(0.25, rel=1e-9)


def test_pass_at_k_has_the_interval_of_a_mean_of_the_questions_estimates():
    correct = (np.random.default_rng(0).random((40, 16)) < 0.3).astype(float)
    for k in (1, 5, 16):
        of_questions = estimate_mean(chance_of_any(*count_right(correct), k), seed=3)
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


def test_majority_by_hand():
    """A right. A A B: A wins. A B: half. B B A: B. No answer has no vote."""
    answers = [["A", "A", "B"], ["A", "B", None], ["B", "B", "A"], [None, None, None], [None, None, "A"]]
    correct = [[float(answer == "A") for answer in samples] for samples in answers]
    np.testing.assert_allclose(question_majority(answers, correct, 3), [1.0, 0.5, 0.0, 0.0, 1.0])


def test_majority_of_fewer_is_the_mean_over_subsets():
    """A A B: of the pairs AA is right, AB twice half: (1 + 1/2 + 1/2) / 3. One draw: 2/3."""
    assert question_majority([["A", "A", "B"]], [[1.0, 1.0, 0.0]], 2)[0] == pytest.approx(2 / 3)
    assert question_majority([["A", "A", "B"]], [[1.0, 1.0, 0.0]], 1)[0] == pytest.approx(2 / 3)
    answers, hits = list("AABBBCAB"), [1.0, 1.0, 0, 0, 0, 0, 1.0, 0]
    found = question_majority([answers], [hits], 3)[0]
    shuffled = [5, 0, 7, 3, 1, 2, 6, 4]
    again = question_majority([[answers[i] for i in shuffled]], [[hits[i] for i in shuffled]], 3)[0]
    assert found == pytest.approx(again)
    assert found == pytest.approx(
        sum(1.0 if s.count("A") > 1 else 1 / 3 if len(set(s)) == 3 else 0.0 for s in itertools.combinations(answers, 3))
        / comb(8, 3)
    )


def test_majority_without_enough_samples_or_with_too_many_subsets():
    assert np.isnan(question_majority([["A"]], [[1.0]], 2)[0])
    with pytest.raises(ValueError, match="at most 20000"):
        question_majority([["A"] * 40], [[1.0] * 40], 20)
    with pytest.raises(ValueError, match="k: got 0"):
        question_majority([["A"]], [[1.0]], 0)
