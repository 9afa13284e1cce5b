"""Configuration errors: what is wrong, what was found, what was expected, and how to mend it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a configuration."""

    what: str
    got: str
    expected: str
    fix: str

    def __str__(self) -> str:
        return f"{self.what}\n  got:      {self.got}\n  expected: {self.expected}\n  fix:      {self.fix}"


class ConfigError(ValueError):
    """A configuration that cannot be run, with every problem found in it."""

    def __init__(self, problems: Problem | Sequence[Problem]):
        self.problems = [problems] if isinstance(problems, Problem) else list(problems)
        lines = [str(problem) for problem in self.problems]
        if len(lines) > 1:
            lines = [f"{len(lines)} problems", *(f"{number}. {line}" for number, line in enumerate(lines, start=1))]
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple:
        # The default would call the constructor with the text.
        return type(self), (self.problems,)


def closest(word: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known words most like `word`, best first."""
    return difflib.get_close_matches(word, list(known), n=count, cutoff=0.6)


def closest_keys(key: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known dotted keys most like `key`, best first: those that end in it, then those like it or like its end."""
    known = list(known)
    whole = sorted((name for name in known if name.endswith(f".{key}")), key=len)
    tail = key.rsplit(".", 1)[-1]
    tails = closest(tail, {candidate.rsplit(".", 1)[-1] for candidate in known}, count)
    same_tail = [candidate for candidate in known if candidate.rsplit(".", 1)[-1] in tails]
    candidates = dict.fromkeys([*closest(key, known, count), *same_tail])
    ratio = {name: difflib.SequenceMatcher(None, key, name).ratio() for name in candidates}
    return list(dict.fromkeys([*whole, *sorted(candidates, key=lambda name: -ratio[name])]))[:count]


def listing(words: Iterable[str]) -> str:
    """`a, b, c`"""
    return ", ".join(words)


def as_written(got: object) -> str:
    """A value, or a text with values in it, in the words of the command line: `null`, `true`, `false`."""
    return re.sub(r"\b(?:None|True|False)\b", lambda word: _YAML[word.group()], str(got))


_YAML = {"None": "null", "True": "true", "False": "false"}


class Findings:
    """Collects problems, so that a user sees all of them at once."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def require(self, holds: bool, what: str, *, got: object, expected: str, fix: str) -> bool:
        """Note a problem unless `holds`; returns `holds`."""
        if not holds:
            self.problems.append(Problem(what, as_written(got), expected, fix))
        return holds

    def require_range(self, key: str, value: float, expected: str, holds: bool, example: object) -> bool:
        """The same for one number of one key; `expected` is the range, NaN is in none."""
        return self.require(holds, f"{key} is out of range", got=value, expected=expected, fix=f"e.g. {key}={example}")

    def raise_if_any(self) -> None:
        """Raise ConfigError with everything found."""
        if self.problems:
            raise ConfigError(self.problems)
