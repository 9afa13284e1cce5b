"""Our verdicts beside a framework's, and our group metrics beside its own, both made of its hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from verl_vaopd.evaluation.benchmark import Verdict
from verl_vaopd.evaluation.crosscheck.backends import Backend
from verl_vaopd.evaluation.crosscheck.case import Case
from verl_vaopd.evaluation.crosscheck.difference import DIFFERENCES, Difference, matches
from verl_vaopd.evaluation.crosscheck.outcomes import Outcome, Outcomes

_MAX_SHOWN = 50  # characters
_TOLERANCE = 0.0051  # frameworks print percentages with two decimals


@dataclass(frozen=True)
class Compared:
    """One case, scored by both."""

    case: Case
    ours: Verdict
    theirs: Outcome

    @property
    def is_comparable(self) -> bool:
        """Whether we have a hit at all: without a judge's replies, what a judge must decide is not scored."""
        return self.ours.hit is not None or bool(self.case.replies)

    @property
    def differs(self) -> bool:
        """Whether the hits differ; a crash, and a hit where we have none, are differences."""
        return self.is_comparable and self.ours.hit != self.theirs.hit


@dataclass(frozen=True)
class ComparedMetric:
    """One group metric [per cent], or points."""

    benchmark: str
    name: str
    ours: float
    theirs: float

    @property
    def differs(self) -> bool:
        """By more than rounding."""
        return not abs(self.ours - self.theirs) <= _TOLERANCE


def compare(backend: Backend, cases: Sequence[Case], outcomes: Outcomes) -> list[Compared]:
    """Score the cases by the protocol that the backend is held against.

    Raises:
        ValueError: a case has no outcome, or its outcome was of another input.
    """
    compared = []
    for case in cases:
        theirs = outcomes.of_case.get((case.benchmark, case.id))
        if theirs is None or theirs.input_hash != case.input_hash:
            got = "no outcome" if theirs is None else "an outcome of another input"
            raise ValueError(f"{backend.name}: {case.benchmark}: {case.id}: got {got}; run the cross-check again")
        protocol = backend.protocol(case.benchmark)
        judge = case.judge() if protocol == "official" else None
        ours = backend.benchmark(case.benchmark).score(case.fields, case.response, protocol, judge)
        compared.append(Compared(case, ours, theirs))
    return compared


def compare_metrics(backend: Backend, compared: Sequence[Compared], outcomes: Outcomes) -> list[ComparedMetric]:
    """Group metrics of the framework's hits, made by us and by it."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in compared:
        row = {**one.case.fields, "parsed": None, "hit": one.theirs.hit}
        groups.setdefault(one.case.benchmark, []).append(row)
    metrics = []
    for benchmark, rows in groups.items():
        theirs = outcomes.metrics.get(benchmark, {})
        ours = backend.benchmark(benchmark).aggregate(rows)
        metrics += [ComparedMetric(benchmark, name, ours[name], value) for name, value in theirs.items()]
    return metrics


def named(backend: Backend, compared: Sequence[Compared]) -> dict[Difference, list[Compared]]:
    """Of every difference that is known for a backend, on the benchmarks of the cases, the cases that it names."""
    benchmarks = {one.case.benchmark for one in compared}
    return {
        known: [one for one in compared if known.covers(one.case.benchmark, one.case.id)]
        for known in DIFFERENCES
        if known.backend == backend.name and known.benchmark in benchmarks
    }


def problems(backend: Backend, compared: Sequence[Compared], metrics: Sequence[ComparedMetric]) -> list[str]:
    """What is wrong with the table of known differences: one line each; none if it is exact.

    Every difference must be named once, every case that is named must differ, and no group metric may differ.
    """
    known = named(backend, compared)
    names: dict[tuple[str, str], list[str]] = {}
    for difference, found in known.items():
        for one in found:
            names.setdefault((one.case.benchmark, one.case.id), []).append(difference.name)
    told = []
    for one in compared:
        of_case = names.get((one.case.benchmark, one.case.id), [])
        if one.differs and len(of_case) != 1:
            told.append(f"{line(one)}: {'named twice: ' + ', '.join(of_case) if of_case else 'not named'}")
        if of_case and not one.differs:
            told.append(f"{line(one)}: no longer a difference, but named {', '.join(of_case)}")
    told += [
        f"{difference.benchmark}: {pattern}: named {difference.name}, but there is no such case"
        for difference, found in known.items()
        for pattern in difference.cases
        if not any(matches(pattern, one.case.id) for one in found)
    ]
    return told + [metric_line(metric) for metric in metrics if metric.differs]


def line(one: Compared) -> str:
    """One case, told in a line."""
    ours = "not scored" if one.ours.hit is None else f"{one.ours.hit:g}"
    parsed = "" if one.ours.parsed is None else f" ({_short(one.ours.parsed)})"
    said = _short(one.case.response)
    return f"{one.case.benchmark}: {one.case.id!r}: ours {ours}{parsed}, theirs {one.theirs}: {said}"


def _short(text: str) -> str:
    return repr(text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}...")


def metric_line(one: ComparedMetric) -> str:
    """One group metric, told in a line."""
    return f"{one.benchmark}: {one.name} of their hits: ours {one.ours:.4f}, theirs {one.theirs:.4f}"
