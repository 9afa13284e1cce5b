r"""Whether a final answer says the same as the published one: strict, deterministic, bounded in time.

    45°, 45 degrees, 45              a missing unit is forgiven, a wrong one is not
    0.5, 1/2, \frac{1}{2}, 50%       one number
    1.3333333333333333, 4/3          one number, as floating point prints it; 1.3333 is another one
    3\sqrt{2}, \sqrt{18}             one number, to 9 digits; 4.24 is another one
    x = 5, 5 = x, 2 + 3 = 5, 5       a name, or how it was computed, may be left out
    Center = (1, 2), (1, 2)          a point's or a set's too, whatever the name
    1, 2    2 and 1    \{1, 2\}      without brackets or in braces, order does not matter
    (1, 2)  [1, 2]  (1, 2]  1, 2     four answers: points and intervals keep order and brackets
    2-5, 2 to 5                      a range is not a difference
    2(x+1), 2x+2                     expressions are compared by value, equations by their solutions

Nothing is rounded: a question that asks for a rounded number publishes its precision.
"""

import math
import re
import zlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from verl_vaopd.answers.expression import MAX_LENGTH, NotAnExpression, Number, evaluate
from verl_vaopd.answers.normalise import join_thousands, normalise_maths, normalise_text
from verl_vaopd.answers.units import Unit, split_unit

_TOLERANCE = 1e-9
_PRINTED_IN_FULL = 10**14  # a denominator: of a decimal with 15 digits or more behind the point
_PRINTED_TOLERANCE = 1e-14
_NUM_TRIALS = 4
_HEDGE = re.compile(
    r"^(?:(?:approximately|approx\.?|about|around|roughly|exactly|only|equal to)\s|[~=:])\s{0,2}", re.IGNORECASE
)
_CONJUNCTION = re.compile(r",? (?:and|or) |; ?|[、，]", re.IGNORECASE)
_RANGE = re.compile(r"^(\d+(?:\.\d+)?) ?(?:--?|~|to|\\sim) ?(\d+(?:\.\d+)?)$", re.ASCII)
_BETWEEN = re.compile(r"^(?:between|from) (\d+(?:\.\d+)?) (?:and|to) (\d+(?:\.\d+)?)$", re.ASCII | re.IGNORECASE)
_MAGNITUDE = re.compile(r"^([\d.]+) (thousand|million|billion|trillion)$", re.ASCII | re.IGNORECASE)
_MAGNITUDES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_CURRENCIES = {"€": "euro", "¥": "yuan"}
_RELATION = re.compile(r"[<>]|\\(?:le|ge|ne|in|cup|cap|perp|parallel|sim|pm|mp)(?![A-Za-z])")
_NAME = re.compile(r"^(?!.*\\(?:frac|sqrt|times|div))[A-Za-z\\][A-Za-z0-9\\ _'{}.]{0,39}(?:\( ?[A-Za-z] ?\))?$")
_VARIABLES = re.compile(r"^\( ?[A-Za-z] ?(?:, ?[A-Za-z] ?){1,2}\)$")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")
_OPERATION = re.compile(r"[\d+*/^-]|\\frac|\\sqrt")
_ANGLE_FUNCTION = re.compile(r"(?:sin|cos|tan)(?![a-z])")  # degrees in it are no unit of the result


class _Answer(NamedTuple):
    brackets: str
    """Of a point or an interval; empty for a single answer, a list without brackets, a set."""
    items: list[str]


def answers_equal(answer: str, gold: str) -> bool:
    """Whether the answer equals the published one.

    Args:
        answer: from a response, nothing around it: the content of its box, what stands after its answer mark.
        gold: as published; an empty one equals nothing.
    """
    if len(answer) > MAX_LENGTH or len(gold) > MAX_LENGTH:
        return bool(gold.strip()) and answer.split() == gold.split()
    found, wanted = _read(answer), _read(gold)
    if not all(wanted.items) or found.brackets != wanted.brackets or len(found.items) != len(wanted.items):
        return False
    if wanted.brackets:
        return all(map(_same, found.items, wanted.items))
    return _same_in_any_order(found.items, wanted.items)


def numeric_value(text: str) -> Number | None:
    """The number that a text is, a unit or a name before it aside; None if it is none, or more than one."""
    if len(text) > MAX_LENGTH:
        return None
    answer = _read(text)
    if answer.brackets or len(answer.items) != 1:
        return None
    quantity = _quantity(answer.items[0].rpartition("=")[2].strip())
    return quantity.value if quantity else None


def list_items(text: str) -> list[str]:
    """The items of a list, point or interval; a text that is none is its own only item."""
    return _read(text).items if len(text) <= MAX_LENGTH else [text]


@lru_cache(maxsize=4096)
def _read(text: str) -> _Answer:
    text = _HEDGE.sub("", normalise_maths(text).replace("\\{", "{").replace("\\}", "}"))
    name, _, value = (side.strip() for side in text.rpartition("="))
    if _encloses(value) and len(_split(value[1:-1])) > 1 and (_NAME.match(name) or _VARIABLES.match(name)):
        text = value
    if _encloses(text):
        items = _split(text[1:-1])
        if len(items) > 1:
            return _Answer("" if text[0] == "{" else text[0] + text[-1], items)
        return _read(text[1:-1]) if text[0] != "{" else _Answer("", items)
    between = _BETWEEN.match(text)
    if between:
        return _Answer("", [f"{between[1]} to {between[2]}"])
    return _Answer("", _split(_CONJUNCTION.sub(",", join_thousands(text))))


def _encloses(text: str) -> bool:
    """Whether the first and the last character are brackets around all the rest; ( and [ may close each other."""
    if len(text) < 2 or text[0] not in "([{" or text[-1] not in ")]}" or (text[0] == "{") != (text[-1] == "}"):
        return False
    depth = 0
    for character in text[:-1]:
        depth += (character in "([{") - (character in ")]}")
        if depth == 0:
            return False
    return depth == 1


def _split(text: str) -> list[str]:
    """At the commas that are in no brackets."""
    items, depth, start = [], 0, 0
    for index, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            items.append(text[start:index].strip())
            start = index + 1
    return [*items, text[start:].strip()]


def _same_in_any_order(found: Sequence[str], wanted: Sequence[str]) -> bool:
    left = list(found)
    for gold in wanted:
        match = next((answer for answer in left if _same(answer, gold)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _same(answer: str, gold: str) -> bool:
    if answer.replace(" ", "") == gold.replace(" ", ""):
        return True
    if "=" in answer or "=" in gold:
        return _same_equation(answer.split("="), gold.split("="))
    if _RANGE.match(answer) or _RANGE.match(gold):
        return _same_range(_RANGE.match(answer), _RANGE.match(gold))
    found, wanted = _quantity(answer), _quantity(gold)
    if found or wanted:
        return found is not None and wanted is not None and _same_quantity(found, wanted)
    if _RELATION.search(answer) or _RELATION.search(gold):
        return False
    return _same_expression(answer, gold) or normalise_text(answer) == normalise_text(gold)


def _same_range(answer: re.Match[str] | None, gold: re.Match[str] | None) -> bool:
    return (
        answer is not None
        and gold is not None
        and list(map(Fraction, answer.groups())) == list(map(Fraction, gold.groups()))
    )


class _Quantity(NamedTuple):
    value: Number
    unit: Unit | None


def _quantity(text: str) -> _Quantity | None:
    currency = _CURRENCIES.get(text[:1])
    number, unit = (text, None) if _ANGLE_FUNCTION.search(text) else split_unit(text[1:].strip() if currency else text)
    if currency and unit is None:
        unit = Unit(Fraction(1), ((currency, 1),))
    magnitude = _MAGNITUDE.match(number)
    scale = _MAGNITUDES[magnitude[2].lower()] if magnitude else 1
    number = magnitude[1] if magnitude else number
    parts = number.split(":")
    try:
        value = evaluate(parts[0]) * scale if len(parts) == 1 else evaluate(f"({parts[0]})/({':'.join(parts[1:])})")
    except NotAnExpression:
        return None
    return _Quantity(value, unit)


def _same_quantity(answer: _Quantity, gold: _Quantity) -> bool:
    if answer.unit and gold.unit:
        return answer.unit.dimension == gold.unit.dimension and same_value(
            answer.value * answer.unit.scale, gold.value * gold.unit.scale
        )
    if same_value(answer.value, gold.value):
        return True
    # 50 % and 0.5 are one number; 5 m and 0.05 are not.
    shares = [
        q.value * q.unit.scale if q.unit and q.unit.dimension == (("share", 1),) else q.value for q in (answer, gold)
    ]
    return same_value(*shares)


def same_value(first: Number, second: Number) -> bool:
    """Whether two numbers are equal: exactly if both are rational, else to 9 digits.

    A decimal with all the digits that floating point prints is a rounded number, and compared as one.
    """
    if isinstance(first, Fraction) and isinstance(second, Fraction):
        return first == second or (
            max(first.denominator, second.denominator) >= _PRINTED_IN_FULL
            and math.isclose(first, second, rel_tol=_PRINTED_TOLERANCE)
        )
    try:
        return math.isclose(first, second, rel_tol=_TOLERANCE, abs_tol=1e-12)
    except OverflowError:  # one is too large for a float
        return False


def _same_equation(answer: list[str], gold: list[str]) -> bool:
    """Sides of each; a single side is an answer without its name, more than two a chain of which the ends count."""
    first, second = _ends(answer), _ends(gold)
    if len(first) == 1:
        return _says_what_is_equal(second) and _same(first[0], second[1])
    if len(second) == 1:
        return _says_what_is_equal(first) and _same(first[1], second[0])
    if first[0].replace(" ", "") == second[0].replace(" ", ""):
        return _same(first[1], second[1])
    differences = [_trials(f"({left})-({right})") for left, right in (first, second)]
    if not all(differences):
        return False
    ratios = [one / other if other else math.nan for one, other in zip(*differences, strict=True)]
    return all(ratio != 0 and math.isclose(ratio, ratios[0], rel_tol=1e-6) for ratio in ratios)


def _says_what_is_equal(equation: list[str]) -> bool:
    """Whether it is a value with its name, or a computation that is right: of either the right side is the answer."""
    return _NAME.match(equation[0]) is not None or (_quantity(equation[0]) is not None and _same(*equation))


def _ends(sides: list[str]) -> list[str]:
    """The first and the last side, a name before its value; a single side as it is."""
    first, last = sides[0].strip(), sides[-1].strip()
    if len(sides) == 1:
        return [first]
    return [last, first] if _NAME.match(last) and not _NAME.match(first) and _quantity(first) else [first, last]


def _same_expression(answer: str, gold: str) -> bool:
    values = _trials(answer), _trials(gold)
    return all(values) and all(map(same_value, *values))


def _trials(text: str) -> list[Number]:
    """Values of an expression with variables, for several choices of them; empty if it is none, or words."""
    if _WORD.search(text) or not _OPERATION.search(text):
        return []
    try:
        return [evaluate(text, _variable(trial)) for trial in range(_NUM_TRIALS)]
    except NotAnExpression:
        return []


def _variable(trial: int) -> Callable[[str], float]:
    """A number between 0.5 and 2.5 for each name, the same one in every run."""
    return lambda name: 0.5 + zlib.crc32(f"{name} {trial}".encode()) / 2**31
