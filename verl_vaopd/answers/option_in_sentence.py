"""Which option of a multiple-choice question a sentence settles on, by its letter, its text or its value.

Options: A. gothic   B. baroque   C. 30°   D. 60°
The load is best represented by option **B**.                       B
The church is (B) baroque.    This agrees with option B. baroque.   B
The style is baroque.         So the angle is 60°.                  B, D
The style is gothic or baroque.   It is (A) baroque.   Not gothic.  nothing
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from verl_vaopd.answers.equality import answers_equal
from verl_vaopd.answers.normalise import normalise_maths, normalise_text
from verl_vaopd.answers.statement import stated_value

_MAX_LENGTH = 600  # characters
_LETTER = re.compile(
    r"\b(?i:options?|choices?|answers?|letter)\b(?: letter)?(?: is| are| would be| should be| must be)?[\s:]{0,2}"
    r"[(\[]?([A-J])(?![\w'’])|[(\[]([A-J])[)\]]|选项?\s?[(]?([A-J])|[为是]\s?([A-J])[.。]?$"
    r"|\b(?:choose|select|pick|go with)\s(?:option |answer )?([A-J])(?=[.,!]|$)"
    r"|^\W{0,3}([A-J])[.:)]\s?(?=\S)"
    r"|\b(?i:choice|option|answer)\b[^.]{0,80}\bis ([A-J])[.!]$"
    # A bare letter may be a point of the figure: only with its text behind it.
    r"|\b(?:is|are|be|to|with|as|by)\s([A-J])[.:)]\s?(?=\S)"
)
# "Option (F) is the same as the picture" chooses nothing, "option (F) is the closest one" does.
_TELLS = re.compile(
    r"[)\]]?\s(?:is|are|was|were|has|have|had|does|shows?|can|cannot|would|will|means)\b", re.IGNORECASE
)
_PREFERS = re.compile(r"[^.]{0,60}\b(?:correct|right|best|one|closest|most|only|answer|choice)\b", re.IGNORECASE)
_LETTER_IS_TEXT = re.compile(r"\b(?:is|are|be|by|to|with|letter|picture|figure|point|part) ([A-J])[.!]$")
_ENDS = re.compile(r"[.!。][\s\"')*]*$")
_DENIES = re.compile(
    r"\b(?:not|cannot|can't|isn't|aren't|doesn't|don't|never|neither|nor|none|no option|rules? out|ruled out"
    r"|eliminat\w+|incorrect|wrong|unlikely|less likely|impossible|unable|except|unlike|rather than|instead of|whether)"
    r"\b|\?\s*$|不是",
    re.IGNORECASE,
)
_BRACKETED = re.compile(r"[(\[]([A-J])[)\]]")
_STATED = re.compile(
    r"\b(?i:is|are|be|to|with|by|as|options?|choices?|answers?|letter|choose|select|pick)[\s:]{1,2}(?:the )?"
    r"[(\[][A-J][)\]]"
    r"|选项?\s?[(][A-J]|[(\[][A-J][)\]][.。]?$"
)
_NO_WORD = re.compile(r"[^\w%°$+-]+")
_VALUE_IN_BRACKETS = re.compile(r"[(\[][A-J][)\]]\s*-?\d")
_NUM_LETTERS = 3
_ANSWER_WORDS = frozenset(("yes", "no", "true", "false"))


class Named(NamedTuple):
    """What a sentence names."""

    letter: str
    by_letter: bool
    """With its letter, so that nothing else can be meant."""


def option_in_sentence(sentence: str, options: Mapping[str, str], explains: bool = False) -> Named | None:
    """The only option that a sentence names; None if it names none, several, or denies something.

    Args:
        sentence: one sentence, as it stands in the response.
        options: text by letter; texts may be empty where only the letters are known.
        explains: the sentence follows others, so that an option with which it begins is what it tells about.
    """
    if len(sentence) > _MAX_LENGTH:
        return None
    plain = normalise_maths(sentence) + ("." if _ENDS.search(sentence) else "")
    places = {match.end(): next(filter(None, match.groups())) for match in _LETTER.finditer(plain)}
    letters = set(places.values())
    if not letters and all(letter == text for letter, text in options.items()):
        letters = set(_LETTER_IS_TEXT.findall(plain))
    if len(letters) > 1 or not letters <= options.keys():
        return None
    named = _behind_letter(plain, options) or _by_text(sentence, options)
    if places and not named and all(_TELLS.match(plain, end) and not _PREFERS.match(plain, end) for end in places):
        return None
    if letters:
        return _by_letter(sentence, plain, letters, named, options)
    if len(named) != 1 or _DENIES.search(sentence):
        return None
    letter = named.pop()
    if explains and _in_words(sentence).removeprefix("the ").startswith(_in_words(options[letter])):
        return None
    return Named(letter, by_letter=False)


def _by_letter(
    sentence: str, plain: str, letters: set[str], named: set[str], options: Mapping[str, str]
) -> Named | None:
    (letter,) = letters
    if named:
        # What an option's own text denies is not denied by the response.
        rest = _in_words(sentence).replace(_in_words(options[letter]), "", 1)
        return Named(letter, by_letter=True) if named == letters and not _DENIES.search(rest) else None
    # "the third square (A) by subtracting it" names a part of the figure.
    in_passing = _BRACKETED.search(plain) and not _STATED.search(plain)
    if in_passing or _DENIES.search(sentence) or not _ENDS.search(plain):
        return None
    has_values = any(any(map(str.isdigit, text)) for text in options.values())
    says_another = has_values and (stated_value(sentence) is not None or _VALUE_IN_BRACKETS.search(plain) is not None)
    return None if says_another else Named(letter, by_letter=True)


def _behind_letter(plain: str, options: Mapping[str, str]) -> set[str]:
    """Letters in brackets behind which their own option's text begins."""
    behind = {match[1]: _without_spaces(plain[match.end() :]) for match in _BRACKETED.finditer(plain)}
    return {
        letter
        for letter, rest in behind.items()
        if (text := _without_spaces(options.get(letter, ""))) and re.match(rf"{re.escape(text)}(?![\w.]\w)", rest)
    }


def _by_text(sentence: str, options: Mapping[str, str]) -> set[str]:
    """Letters of the options whose words stand in the sentence, or else whose value it states."""
    words, symbols = f" {_in_words(sentence)} ", _without_spaces(sentence)
    found = set()
    for letter, text in sorted(options.items(), key=lambda option: -len(option[1])):
        wanted, formula = _in_words(text), _without_spaces(text)
        is_text = sum(map(str.isalpha, wanted)) >= _NUM_LETTERS and wanted not in _ANSWER_WORDS
        if is_text and f" {wanted} " in words:
            words = words.replace(f" {wanted} ", " | ")  # "New York" in it is no "York"
            found.add(letter)
        elif _is_formula(formula) and re.search(rf"(?<![\w.]){re.escape(formula)}(?![\w])", symbols):
            symbols = symbols.replace(formula, "|")
            found.add(letter)
    if found:
        return found
    value = stated_value(sentence)
    return set() if value is None else {letter for letter, text in options.items() if answers_equal(value, text)}


def _in_words(text: str) -> str:
    return " ".join(_NO_WORD.sub(" ", normalise_text(text)).split())


def _without_spaces(text: str) -> str:
    return normalise_maths(text).replace(" ", "")


def _is_formula(text: str) -> bool:
    """Whether a text is long and odd enough to be recognised wherever it stands."""
    return len(text) > 4 and any(map(str.isdigit, text)) and any(not character.isalnum() for character in text[1:-1])
