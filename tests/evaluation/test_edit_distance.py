"""Edit distance: by hand, by its definition, and as a metric."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_vaopd.evaluation.benchmarks.edit_distance import edit_distance

seeded = settings(derandomize=True, deadline=None, max_examples=60)
few = settings(seeded, max_examples=15)


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [
        ("", "", 0),
        ("abc", "", 3),
        ("kitten", "sitting", 3),
        ("flaw", "lawn", 2),
        ("ab", "ba", 2),
        ("135°", "145°", 1),
        ("a" * 300, "b" * 200, 300),
    ],
)
def test_edit_distance(first, second, distance):
    assert edit_distance(first, second) == edit_distance(second, first) == distance


short = st.text("ab", max_size=8)


def slow_edit_distance(first, second):
    """By its definition: the last characters agree, or one of them was inserted, deleted or replaced."""
    if not first or not second:
        return len(first) + len(second)
    return min(
        slow_edit_distance(first[:-1], second[:-1]) + (first[-1] != second[-1]),
        slow_edit_distance(first[:-1], second) + 1,
        slow_edit_distance(first, second[:-1]) + 1,
    )


@few
@given(st.text("ab", max_size=6), st.text("abc", max_size=6))
def test_edit_distance_is_that_of_its_definition(first, second):
    assert edit_distance(first, second) == slow_edit_distance(first, second)


@seeded
@given(short, short, short)
def test_edit_distance_is_a_metric(first, second, third):
    assert (edit_distance(first, second) == 0) == (first == second)
    assert edit_distance(first, second) == edit_distance(second, first)
    assert edit_distance(first, third) <= edit_distance(first, second) + edit_distance(second, third)
