"""Boxes, their nesting, and the score of a response."""

import pytest

from verl_vaopd.answers.rewards import extract_boxed, well_formed
from verl_vaopd.data.scoring import compute_score


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"so \boxed{42}", "42"),
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}} end", r"\frac{1}{2}"),
        (r"\boxed{\boxed{7}}", r"\boxed{7}"),
        (r"\boxed{1} and \boxed{2", "1"),
        (r"\boxed{a \boxed{3}", "3"),
        (r"\boxed{}", ""),
        (r"{ \boxed{1} and \boxed{2} }", "2"),
        (r"\boxed {5}", "5"),
        (r"\fbox{5}", "5"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ 1 \right.}", r"\left\{ 1 \right."),
        (r"\\boxed{5}", None),
        (r"boxed{5}", None),
        ("}}}{{{", None),
        ("42", None),
        ("", None),
    ],
)
def test_extract_boxed_takes_the_last_balanced_box(text, expected):
    assert extract_boxed(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"Answer: \boxed{42}", True),
        (r"Answer: \boxed{ }", False),
        (r"Answer: \boxed{}", False),
        (r"\boxed{4} \boxed{4}", False),
        (r"\boxed{4} \boxed", False),
        (r"\boxed{4", False),
        ("no box", False),
    ],
)
def test_well_formed_needs_exactly_one_box_with_content(text, expected):
    assert well_formed(text) is expected


@pytest.mark.parametrize(
    ("solution", "truth", "score"),
    [
        (r"\boxed{42}", "42", 1.0),
        (r"\boxed{ 42 }", "42", 1.0),
        (r"\boxed{4 2}", "42", 0.0),
        (r"\boxed{042}", "42", 0.0),
        (r"\boxed{42} no, \boxed{43}", "42", 0.0),
        ("42", "42", 0.0),
    ],
)
def test_tinygeo_score_is_exact_match_of_the_last_box(solution, truth, score):
    result = compute_score("tinygeo", solution, truth, extra_info={"index": 0}, reward_router_address=None)
    assert (result["score"], result["acc"]) == (score, score)


def test_score_reports_the_form_apart_from_the_answer():
    assert compute_score("tinygeo", r"\boxed{1}", "2")["well_formed"] == 1.0
    assert compute_score("tinygeo", r"\boxed{2} \boxed{2}", "2")["well_formed"] == 0.0


def test_unknown_data_source_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'geo9k'.*tinygeo"):
        compute_score("geo9k", r"\boxed{1}", "1")
