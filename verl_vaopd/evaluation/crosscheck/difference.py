"""A difference that is known: its name, why we keep it, and the synthetic cases that show it.

The tables of them (known_*.py) are exact, see comparison.problems: a case that differs is named once, and one that is
named differs.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """One reason why a framework scores some responses otherwise."""

    backend: str
    benchmark: str
    name: str
    reason: str
    cases: tuple[str, ...]
    """Ids; one that ends in * stands for all that begin so."""

    def covers(self, benchmark: str, case: str) -> bool:
        """Whether it explains this case."""
        return benchmark == self.benchmark and any(matches(pattern, case) for pattern in self.cases)


def matches(pattern: str, case: str) -> bool:
    """Whether an entry of Difference.cases is, or stands for, this id."""
    return case.startswith(pattern[:-1]) if pattern.endswith("*") else case == pattern


def right(*names: str) -> tuple[str, ...]:
    """Ways of naming an option, with the right one."""
    return tuple(f"{name}/right" for name in names)
