"""Numbers as MathVista wants them, by the protocol `rule`: integers, rounded to a published precision, in a list."""

import re
from fractions import Fraction

from verl_vaopd.answers.equality import list_items, numeric_value
from verl_vaopd.answers.expression import MAX_LENGTH, Number
from verl_vaopd.answers.normalise import join_thousands, normalise_maths
from verl_vaopd.answers.response import answer_candidates, strip_thinking

_NUMBER = re.compile(r"(?<![\w.])-?(?:\d+(?:\.\d+)?|\.\d+)(?![\d.]|[eE^/:]|\\)", re.ASCII)
_ANY_DIGIT = re.compile(r"\d", re.ASCII)


def final_number(response: str) -> Number | None:
    """The number that a response ends up with, by the protocol `rule`; None if its answer is none, or several."""
    for candidate in answer_candidates(strip_thinking(response)):
        value = only_number(candidate)
        if value is not None:
            return value
    return None


def only_number(answer: str) -> Number | None:
    """The number that an answer is, or else the only one in it ("14 people"); None for none, or several."""
    value = numeric_value(answer)
    if value is not None or len(answer) > MAX_LENGTH:
        return value
    text = join_thousands(normalise_maths(answer))
    found = _NUMBER.findall(text)
    return Fraction(found[0]) if len(found) == 1 and not _ANY_DIGIT.search(text.replace(found[0], "", 1)) else None


def final_numbers(response: str) -> list[Number] | None:
    """The numbers of the list that a response ends up with; None if its answer has none."""
    for candidate in answer_candidates(strip_thinking(response)):
        items = [numeric_value(item) for item in list_items(candidate)]
        values = [value for value in items if value is not None]
        if len(values) < max(len(items), 2):  # not a plain list, but perhaps "between 2014 and 2016"
            values = [Fraction(number) for number in _NUMBER.findall(normalise_maths(candidate[:MAX_LENGTH]))]
        if values:
            return values
    return None


def spell(value: Number) -> str:
    """A number as text, the same for equal ones."""
    try:
        as_float = float(value)
    except OverflowError:
        return str(value)
    return str(int(as_float)) if as_float.is_integer() and abs(as_float) < 2**53 else repr(as_float)


def rounds_to(value: Number, gold: Number, precision: int) -> bool:
    """Whether a number, rounded to so many decimals, is the published one.

    Halves are rounded as Python rounds a float, like in the benchmarks' own code.
    """
    try:
        return round(float(value), precision) == float(gold)
    except OverflowError:
        return False


def decimals(gold: str) -> int:
    """How many decimals a published number has."""
    return len(gold.partition(".")[2])
