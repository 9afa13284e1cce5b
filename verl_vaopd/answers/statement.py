r"""The value that a sentence says something has.

The sum of all 5 values is 44.                             44
So the perimeter is 4 + 4 + 6 = **14 cm**                  14 cm
There are three objects left on the table.                 3
There are 7 blocks that have exactly 36 houses.            7       36 only says which blocks
There are 3 red and 4 green ones. Between 5 and 20.        nothing: two numbers, none of which stands out
It cannot be determined from the 3 values.                 nothing
"""

import re
from collections.abc import Iterable, Iterator

from verl_vaopd.answers.closing import Closing, closing, is_item
from verl_vaopd.answers.equality import numeric_value
from verl_vaopd.answers.normalise import join_thousands, normalise_maths

_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_MAX_LENGTH = 600  # characters; who says what something is does not need more
_NUMBER = r"(?<![\w.^])(?<![A-Za-z]-)-?(?:\d+(?:\.\d+)?|\.\d+)(?!\.?\d)"
_NUMBERS = re.compile(_NUMBER)
_CHANGE = "increase|decrease|rise|drop|fall|decline|gain|loss"
_HEDGE = (
    r"(?:[~=:€]|(?:approximately|approx\.?|about|around|roughly|exactly|only|just|nearly|almost|also|thus|therefore"
    r"|then|now|that|there|still|actually|simply|likely|probably|always|together|equal to|given by|found to be"
    r"|estimated (?:to be|at)|calculated (?:as|to be)|a"
    rf"|(?:(?:an?|the) )?(?:total|sum|value|number|length|distance|maximum|minimum|{_CHANGE}) of)(?=\W))"
)
_HEAD = re.compile(rf"(?:{_HEDGE}\s{{0,2}}){{0,4}}(?P<number>{_NUMBER})(?P<rest>.*)$", re.IGNORECASE | re.DOTALL)
_UNIT = re.compile(r"[A-Za-z°%]*")
# A number after one of these says which things, or when, or where; it is not what the sentence is about.
_BOUNDS = (
    "than|below|above|under|over|exactly|least|most|within|between|in|at|on|before|after|since|until|first|last|next|when"
    "|where|step|figure|option"
)
_QUALIFIER = re.compile(
    rf"(?:{_BOUNDS}|(?<!total )of|of the|from|to|by|for|approaches|years?|number|graph|point|line|week|day|angle"
    r"|exceeds?|(?:between|from|of|both)\s\S{1,20}(?:\s\S{1,20}){0,4}\sand|[=<>(])\s*$",
    re.IGNORECASE,
)
# The same of a sentence's only number.
_BOUND = re.compile(rf"(?:{_BOUNDS}|the|[=<>])\s*$", re.IGNORECASE)
_IN_EXPRESSION = re.compile(
    r"\s?(?:[/^*+(]|\\(?!%)|[-–]\s?\d|[x:]\s?\d|to -?\d|,\s?-?\d|(?:and|or) -?\d|(?:st|nd|rd|th)\b|-[A-Za-z])"
)
_ADDS = re.compile(r"\b(?:and|or)\s*$", re.IGNORECASE)
_COPULA = re.compile(
    r"(?:等于|是|为|有)(?=\s?[-\d\\])|(?<!that )(?<!who )\b(?:is|are|was|were|be|remains?|equals|equal to|becomes?"
    r"|gives?(?: us)?|makes?|has|have|had|totals|leaves?(?: us with)?|(?:comes|amounts?|adds? up|adding up) to|measures"
    r"|costs|contains|means|get|getting)(?=[\s:~=])",
    re.IGNORECASE,
)
_NUMBER_WORD = re.compile(rf"(?<![\w-])({'|'.join(_WORDS[2:])})(?=[\s.]|$)", re.IGNORECASE)
_ONE = re.compile(
    r"\b(is|are|was|be|remains?|only|leaves?|total of|left with)\s+one(?=[\s.]|$)"
    r"(?!\s(?:of|that|which|with|who|whose|in|on|at|third|half|quarter|or|to|more|for)\b)",
    re.IGNORECASE,
)
_OPENING = re.compile(
    r"^(?:(?!-?\d)\W){0,4}(?:\d{1,2}[.)] )?(?:(?:so|therefore|thus|hence|finally|overall|in total),? )?", re.IGNORECASE
)
_CONDITION = re.compile(
    r"^\W{0,4}(?:so |and )?(?:since|given|if|as|because|when|with|from)\b"
    r"(?:.{1,300}, (?=(?:we|it|then|so|there|the)\b)|[^,]{1,200}, )",
    re.IGNORECASE,
)
_AT_POINT = re.compile(r"\b(?:at|when|where|for|if|with|as)\s+\$?[A-Za-z]\w{0,2}\s?(?:=|->|approaches)\s?-?[\d.]*\d")
# What the question asks for may be in either half.
_DIGRESSES = re.compile(r"\d[^,]{0,60}, (?:which|where|who|when)\b[^.]{0,80}\d", re.IGNORECASE)
_FINAL = re.compile(r"\bfinal\b", re.IGNORECASE)
_BOLD = re.compile(r"\*\*([^*\n]{1,80})\*\*")
_REFUSES = re.compile(
    r"\b(?:cannot|can't|can’t|could not|unable|not possible|impossible|insufficient|none of|is not|are not|isn't|aren't"
    r"|was not|does not|doesn't|do not|don't|not enough|undefined|make sure|more information|is needed)\b|\?\s*$",
    re.IGNORECASE,
)


def stated_value(sentence: str, in_passing: bool = True) -> str | None:
    """The value that a sentence says something has, as its number or quantity is written; None if it says none.

    Args:
        sentence: one sentence, as it stands in the response.
        in_passing: its only number counts too, whatever is said of it ("They paid 5 dollars.").
    """
    if len(sentence) > _MAX_LENGTH or _REFUSES.search(sentence):
        return None
    bold = _distinct(_value(text.rpartition("=")[2]) for text in _BOLD.findall(sentence))
    if bold:
        return bold[0] if len(bold) == 1 else None
    text = _NUMBER_WORD.sub(lambda match: str(_WORDS.index(match[1].lower())), _ONE.sub(r"\1 1", sentence))
    text = _CONDITION.sub("", _AT_POINT.sub("", join_thousands(normalise_maths(text))), count=1)
    numbers = list(_NUMBERS.finditer(text))
    if _DIGRESSES.search(text) or any(
        _ADDS.search(text[: one.start()]) and not _qualifies(text, one) for one in numbers
    ):
        return None
    claims = _distinct(_claims(text, begins=not is_item(sentence)))
    if not claims and in_passing and not is_item(sentence) and len(numbers) == 1:
        start = numbers[0].start()
        return None if _BOUND.search(text[:start]) else _value(text[start:])
    return claims[0] if len(claims) == 1 else None


def concluded_value(text: str) -> str | None:
    """The value that a response which marks no answer says in the end; None if it says none, or contradicts itself.

    Args:
        text: the response without thinking, end tokens and courtesies.
    """
    end = closing(text)
    first = stated_value(end.first, in_passing=False) if end.first_is_direct else None
    said = _said_last(end)
    if said is None and not end.conclusion:
        # What follows a direct answer are reasons, or several other values.
        return first if is_item(end.last) or len(_NUMBERS.findall(end.last)) != 1 else None
    contradicts = said is not None and first is not None and "**" in end.first and not _agree(first, said)
    return None if contradicts else said


def _said_last(end: Closing) -> str | None:
    """The value that the last sentence or the conclusion states; None if neither does, or if they disagree."""
    last = stated_value(end.last)
    if not end.conclusion or (last is not None and _FINAL.search(end.last)):
        return last
    concluded = stated_value(end.conclusion)
    if concluded is not None and last is not None:
        return last if _agree(concluded, last) else None
    # A bare number after a conclusion that cannot be read is a part of something else.
    return concluded or (last if len(end.last.split()) > 2 else None)


def _agree(first: str, second: str) -> bool:
    """Whether two values are equal, or the second is the first one rounded."""
    one, other = numeric_value(first), numeric_value(second)
    if one is None or other is None:
        return first == second
    num_decimals = len(second.partition(".")[2].rstrip(" %°"))
    return one == other or round(float(one), num_decimals) == float(other)


def _qualifies(text: str, number: re.Match[str]) -> bool:
    return _QUALIFIER.search(text[max(0, number.start() - 120) : number.start()]) is not None


def _claims(text: str, begins: bool) -> Iterator[str | None]:
    """What stands behind the sentence's opening, behind each verb that says what something is, behind the last "="."""
    _, sign, result = text.rpartition("=")
    yield _value(result) if sign and not _COPULA.search(result) else None
    opening, verbs = _OPENING.match(text), list(_COPULA.finditer(text))
    starts = [opening.end() if opening else 0, *(verb.end() for verb in verbs)]
    ends = [*(verb.start() for verb in verbs), len(text)]
    for start, end in list(zip(starts, ends, strict=True))[not begins :]:
        if "=" not in text[start:end]:
            yield _value(text[start:end])


def _distinct(values: Iterable[str | None]) -> list[str]:
    """Each value once, in its first spelling."""
    found: dict[object, str] = {}
    for value in values:
        if value is not None:
            found.setdefault(numeric_value(value), value)
    return list(found.values())


def _value(tail: str) -> str | None:
    """What a text begins with, if that is a number and any other only qualifies it."""
    tail = tail.strip(" :,.;")
    if numeric_value(tail) is not None:
        return tail
    head = _HEAD.match(tail)
    if head is None or _IN_EXPRESSION.match(head["rest"]):
        return None
    unit = _UNIT.match(head["rest"])
    value = head["number"] + (unit[0] if unit else "")
    is_alone = all(_qualifies(head["rest"], other) for other in _NUMBERS.finditer(head["rest"]))
    return value if is_alone and numeric_value(value) is not None else None
