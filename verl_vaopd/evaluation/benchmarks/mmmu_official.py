"""How MMMU's repository reads a response, for the protocol `official`.

Multiple choice: letters in brackets, else letters between spaces, else (in more than five words) the texts of options;
of several the last one. Oddities, all reproduced: "**B**" and "B:" in the middle of a text are no letters; an "A" that
is an article is one; "\\boxed{B}" is not; a think-block is read like anything else; a text counts inside a word, too.

Open questions: what follows words like "is" and "so" in each line (and "=" in the last), and the numbers in it, rounded
to two decimals. One of them must be a published number, or contain a published text. Oddities: sentences are meant to
be told apart, but the text is already in lower case, where none begins; every line counts, not only the last, so that a
response which tries several values is right if one of them is.
"""

import re
from collections.abc import Mapping, Sequence

_EDGES = ",.!?;:'"
_MIN_WORDS_FOR_TEXT = 6
_INDICATORS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_TRIVIAL = frozenset(":,.!?;'")
# The look-behinds change nothing but the time that long runs of digits take: no match can begin inside a run.
_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"-?(?<!\d)\d+(?:\.\d+)?[eE][+-]?\d+"),
    re.compile(r"-?(?:(?<!\d)\d+\.\d+|\.\d+|(?<!\d)\d+\b)(?![eE][+-]?\d+)(?![,\d])"),
)


def read_choice(response: str, options: Mapping[str, str]) -> str | None:
    """The letter, or None where the official parser draws one at random."""
    for edge in _EDGES:
        response = response.strip(edge)
    response = f" {response} "
    for form in ("({})", " {} "):
        places = {letter: response.rfind(form.format(letter)) for letter in options}
        found = [letter for letter, place in places.items() if place >= 0]
        if found:
            return max(found, key=places.__getitem__)
    if len(response.split()) < _MIN_WORDS_FOR_TEXT:
        return None
    places = {letter: response.lower().rfind(text.lower()) for letter, text in options.items()}
    found = [letter for letter, place in places.items() if place >= 0]
    return max(found, key=places.__getitem__) if found else None


def read_open(response: str) -> list[str | float]:
    """The answers that an open response is taken to give, without repetition."""
    tails = _tails(response)
    texts = [*tails, *(number for tail in tails for pattern in _NUMBERS for number in pattern.findall(tail))]
    return list(dict.fromkeys(value for text in texts for value in _normalised(text)))


def open_is_right(answers: Sequence[str | float], golds: Sequence[str]) -> bool:
    """Whether one of the answers is, or contains, one of the published ones."""
    wanted = [value for gold in golds for value in _normalised(gold)]
    texts = [value for value in wanted if isinstance(value, str)]
    return any(
        any(text in answer for text in texts) if isinstance(answer, str) else answer in wanted for answer in answers
    )


def _tails(response: str) -> list[str]:
    """Of every line, the shortest text that follows an indicator; the whole response if there is none."""
    response = response.strip().strip(".").lower()
    lines = response.split("\n")
    tails = []
    for number, line in enumerate(lines, 1):
        indicators = (*_INDICATORS, "=") if number == len(lines) else _INDICATORS
        tail = ""
        for indicator in indicators:
            after = line.rpartition(indicator)[2].strip()
            # An empty one replaces any, and is replaced by any that follows.
            if indicator in line and (not tail or len(after) < len(tail)):
                tail = after
        if tail and tail not in _TRIVIAL:
            tails.append(tail)
    return tails or [response]


def _normalised(text: str) -> list[str | float]:
    """A number rounded to two decimals, or a text in lower case; a single character must have a space beside it."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except (ValueError, OverflowError):
        text = text.lower()
        return [f" {text}", f"{text} "] if len(text) == 1 else [text]
