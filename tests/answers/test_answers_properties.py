"""What must hold of every text: of boxes and thoughts, of equal answers, of the value of an expression."""

import math
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.answers.hostile_text import responses, thoughts
from verl_vaopd.answers.equality import answers_equal
from verl_vaopd.answers.expression import NotAnExpression, evaluate
from verl_vaopd.answers.response import strip_thinking
from verl_vaopd.answers.rewards import extract_boxed

seeded = settings(derandomize=True, deadline=None, max_examples=60)


@seeded
@given(thoughts, thoughts)
def test_balanced_thoughts_leave_the_rest(before, after):
    assert strip_thinking(f"{before}<think>x<think>y</think>z</think>{after}") == before + after


@seeded
@given(responses)
def test_no_answer_equals_nothing(answer):
    assert not answers_equal(answer, "")
    assert not answers_equal(answer, "   ")


@seeded
@given(st.text("ab12.+-*/^()= ", min_size=1).filter(lambda text: any(map(str.isalnum, text))))
def test_an_answer_equals_itself(answer):
    assert answers_equal(answer, answer)


@seeded
@given(
    st.integers(-(10**6), 10**6), st.integers(1, 999), st.sampled_from(["{}/{}", "\\frac{{{}}}{{{}}}", "{}\\div {}"])
)
def test_fractions_equal_their_value_and_no_other(numerator, denominator, form):
    written = form.format(numerator, denominator)
    assert evaluate(written) * denominator == numerator
    assert answers_equal(written, f"\\dfrac{{{3 * numerator}}}{{{3 * denominator}}}")
    assert not answers_equal(written, f"{numerator + 1}/{denominator}")


@seeded
@given(responses)
def test_evaluation_gives_a_number_or_says_that_it_is_none(text):
    for variable in (None, lambda name: 1.5):
        with suppress(NotAnExpression):
            assert math.isfinite(evaluate(text, variable))


@seeded
@given(responses, responses)
def test_the_last_box_is_what_was_boxed_last(before, content):
    balanced = content.replace("{", "").replace("}", "").replace("\\", "")
    assert extract_boxed(before.replace("\\", "") + f"\\boxed{{{balanced}}}") == balanced
