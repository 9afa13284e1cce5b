"""A difference that is known: its name, why we keep it, and the synthetic cases that show it.

The table of them (known.yaml) is exact, see comparison.problems: a case that differs is named once, and one that is
named differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from verl_vaopd.files import read_yaml


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


DIFFERENCES = tuple(
    Difference(
        backend,
        benchmark,
        name,
        known["reason"],
        (*(f"{way}/right" for way in known.get("right", ())), *known.get("cases", ())),
    )
    for backend, benchmarks in read_yaml(Path(__file__).with_name("known.yaml")).items()
    for benchmark, differences in benchmarks.items()
    for name, known in differences.items()
)
