import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_vaopd.stats.estimates import estimate_mean, mean_of_present, question_means
from verl_vaopd.stats.pass_at_k import chance_of_any, count_right, question_distinct_answers
from verl_vaopd.stats.seeds import estimate_over_seeds, paired_difference

# Seeded, and no time limit on a machine that may be busy.
seeded = settings(derandomize=True, deadline=None)
scores = st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=3, max_size=8), min_size=1, max_size=12)


def average(correct):
    return mean_of_present(question_means(correct))


def pass_at(correct, k):
    return mean_of_present(chance_of_any(*count_right(correct), k))


@seeded
@given(scores, st.randoms(use_true_random=False))
def test_permuting_samples_or_questions_changes_no_score(correct, random):
    shuffled = [random.sample(samples, len(samples)) for samples in correct]
    random.shuffle(shuffled)
    assert average(shuffled) == pytest.approx(average(correct), abs=1e-12)
    assert pass_at(shuffled, 3) == pytest.approx(pass_at(correct, 3), abs=1e-12)


@seeded
@given(scores, st.randoms(use_true_random=False))
def test_masked_matrix_equals_ragged_lists(correct, random):
    matrix = np.full((len(correct), 10), np.nan)
    for row, samples in zip(matrix, correct, strict=True):
        row[random.sample(range(10), len(samples))] = samples
    np.testing.assert_array_equal(question_means(matrix), question_means(correct))
    assert pass_at(matrix, 2) == pass_at(correct, 2)


@seeded
@given(scores)
def test_pass_at_k_starts_at_avg_and_never_falls(correct):
    curve = [pass_at(correct, k) for k in (1, 2, 3)]
    assert curve[0] == pytest.approx(average(correct), abs=1e-12)
    assert curve == sorted(curve)
    assert curve[0] >= 0.0
    assert curve[-1] <= 1.0


@settings(seeded, max_examples=30)
@given(scores, st.floats(-3, 3), st.floats(0.1, 4))
def test_estimates_move_with_the_values(correct, shift, scale):
    plain = estimate_mean(correct, num_resamples=200)
    moved = estimate_mean([[shift + scale * x for x in samples] for samples in correct], num_resamples=200)
    for name in ("value", "low", "high"):
        assert getattr(moved, name) == pytest.approx(shift + scale * getattr(plain, name), abs=1e-9, nan_ok=True)
    assert moved.standard_error == pytest.approx(scale * plain.standard_error, abs=1e-9, nan_ok=True)


@settings(seeded, max_examples=30)
@given(scores)
def test_interval_lies_within_the_questions_and_around_the_value(correct):
    estimate = estimate_mean(correct, num_resamples=500)
    means = question_means(correct)
    if len(correct) > 1:
        assert means.min() - 1e-12 <= estimate.low <= estimate.value + 1e-12
        assert estimate.value - 1e-12 <= estimate.high <= means.max() + 1e-12


@seeded
@given(scores, st.randoms(use_true_random=False))
def test_distinct_answers_grow_with_the_draws_and_forget_the_names_of_answers(answers, random):
    curve = np.array([question_distinct_answers(answers, k) for k in (1, 2, 3)])
    np.testing.assert_allclose(curve[0], 1.0)
    assert (np.diff(curve, axis=0) >= -1e-12).all()
    assert (curve <= np.arange(1, 4)[:, None] + 1e-12).all()
    renamed = [[{0.0: "no", 1.0: None}[x] for x in random.sample(samples, len(samples))] for samples in answers]
    np.testing.assert_allclose(question_distinct_answers(renamed, 3), curve[2])


@settings(seeded, max_examples=30)
@given(st.lists(st.lists(st.floats(-2, 2), min_size=4, max_size=4), min_size=1, max_size=4), st.floats(-1, 1))
def test_a_difference_is_that_of_the_scores_and_a_shift_of_one_side_shifts_it(runs, shift):
    first, second = np.array(runs), np.array(runs[::-1]) + shift
    difference = paired_difference(first, second, num_resamples=200)
    assert difference.value == pytest.approx(
        estimate_over_seeds(first).value - estimate_over_seeds(second).value, abs=1e-9
    )
    moved = paired_difference(first + 1.0, second, num_resamples=200)
    assert (moved.low, moved.high) == pytest.approx((difference.low + 1.0, difference.high + 1.0), abs=1e-9)
