"""Numbers and lists of numbers by the protocol `rule`; precision as published."""

from fractions import Fraction

import pytest

from verl_vaopd.evaluation.benchmarks.mathvista_numbers import decimals, final_number, final_numbers, rounds_to


@pytest.mark.parametrize(
    ("response", "value"),
    [
        ("14", 14),
        ("The answer is 14 people.", 14),
        ("\\boxed{14}", 14),
        ("\\boxed{12 \\text{ people}}", 12),
        ("\\boxed{1} \\boxed{2}", 2),
        ("Answer: 1,234", 1234),
        ("The answer is $1.45.", Fraction("1.45")),
        ("Answer: −3", -3),
        ("Answer: 3/4", Fraction(3, 4)),
        ("Answer: 2 of 3", None),
        ("Answer: between 2 and 3", None),
        ("Answer: [1, 2]", None),
        ("Answer: none", None),
        ("There were 14 of them, which is less than 15 as I said above, so it goes on and on.", None),
        ("First 3.\nThen 14.", 14),
        ("<think>15</think>\\boxed{14}", 14),
        ("", None),
    ],
)
def test_final_number(response, value):
    assert final_number(response) == value


@pytest.mark.parametrize(
    ("response", "values"),
    [
        ("\\boxed{[2014, 2016]}", [2014, 2016]),
        ("The answer is 2014 and 2016.", [2014, 2016]),
        ("Answer: between 2014 and 2016", [2014, 2016]),
        ("Answer: [0, 212]", [0, 212]),
        ("Answer: (1, 0.5, -2)", [1, Fraction(1, 2), -2]),
        ("Answer: none", None),
        ("", None),
    ],
)
def test_final_numbers(response, values):
    assert final_numbers(response) == values


@pytest.mark.parametrize(
    ("value", "gold", "precision", "right"),
    [
        (Fraction("1.23"), "1.2", 1, True),
        (Fraction("1.15"), "1.1", 1, True),  # 1.15 as a float lies below its half
        (Fraction("1.26"), "1.2", 1, False),
        (Fraction("0.5"), "0.5", 2, True),
        (Fraction(1, 3), "0.33", 2, True),
        (2.0**0.5, "1.41", 2, True),
        (Fraction(10) ** 400, "1.4", 1, False),
    ],
)
def test_rounds_to(value, gold, precision, right):
    assert rounds_to(value, Fraction(gold), precision) is right


@pytest.mark.parametrize(("gold", "number"), [("1.25", 2), ("3", 0), ("0.0", 1)])
def test_decimals(gold, number):
    assert decimals(gold) == number
