"""What is kept of a question to find it again, however it is set: its words and numbers, without layout.

`$m \\angle A B C$` and `m∠ABC` are the same. What a benchmark puts around a question (a hint before `Question:`, the
options after `Choices:`) is not part of it.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from rapidfuzz import fuzz

MIN_SIMILARITY = 90.0
"""Of nearly the same questions, out of 100: 2 x the longest common subsequence by the sum of the lengths."""
MIN_BYTES = 20
"""Of the key of a specific question that gives numbers, in UTF-8."""
MIN_BYTES_WITHOUT_NUMBERS = 100
"""Of the key of one that gives none."""

_WRITTEN = str.maketrans(
    {"∠": " angle ", "△": " triangle ", "⊙": " circle ", "°": " ", "∥": " parallel ", "⊥": " perp ", "×": "*", "÷": "/"}
    | dict.fromkeys("²³¹⁰⁴⁵⁶⁷⁸⁹①②③④⑤⑥⑦⑧⑨", " ")  # powers of units and labels, which are no numbers of the problem
)
_SILENT = re.compile(
    r"\\(?:left|right|text|textrm|mathrm|mathbf|operatorname|overline|quad|degree|circ|[,;! ])(?![a-z])"
)
_SAID = {"\\odot": " circle ", "\\bigodot": " circle ", "\\times": "*", "\\cdot": "*", "\\div": "/"}
_BEFORE = re.compile(r"\A\s*(?:hint:|please\b).*?\bquestion:|\A\s*question:", re.DOTALL)
_AFTER = re.compile(r"\bchoices:.*", re.DOTALL)
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+|[-+*/^=<>]")
_PI = "3.14"  # a convention of computing, in whatever problem


@dataclass(frozen=True)
class Asked:
    """What is kept of a question."""

    key: str
    """Equal for questions that differ in layout only."""
    numbers: tuple[str, ...]
    """In it, sorted."""

    @property
    def is_specific(self) -> bool:
        """Whether it can be told from all others: by two numbers, or one that is no mere label, or by its length."""
        given = [number for number in self.numbers if number != _PI]
        gives_numbers = len(given) > 1 or any(len(number) > 1 for number in given)
        return len(self.key.encode()) >= (MIN_BYTES if gives_numbers else MIN_BYTES_WITHOUT_NUMBERS)


def asked(text: str) -> Asked:
    """What is kept of a question's text."""
    text = text.replace("<image>", " ").translate(_WRITTEN)
    text = unicodedata.normalize("NFKC", text).casefold()
    stem = _AFTER.sub("", _BEFORE.sub("", text))
    text = stem if stem.strip() else text
    for command, word in _SAID.items():
        text = text.replace(command, word)
    tokens = _TOKEN.findall(_SILENT.sub(" ", text))
    tokens = [_shortest(token) for token in tokens]
    return Asked("".join(tokens), tuple(sorted(token for token in tokens if token[0].isdigit())))


def similarity(one: Asked, other: Asked) -> float | None:
    """100 for the same question, less for nearly the same one; None: another one."""
    if one.key == other.key:
        return 100.0
    if one.numbers != other.numbers:
        return None
    return fuzz.ratio(one.key, other.key, score_cutoff=MIN_SIMILARITY) or None


def _shortest(token: str) -> str:
    """A number without zeros that say nothing: 80.0 is 80."""
    return token.rstrip("0").rstrip(".") if "." in token else token
