"""A cross-check as text: the summary of one, and the page docs/crosscheck.md of the recorded ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from verl_vaopd.evaluation.crosscheck.backends import Backend
from verl_vaopd.evaluation.crosscheck.cases import synthetic
from verl_vaopd.evaluation.crosscheck.comparison import Compared, ComparedMetric, compare, compare_metrics, named
from verl_vaopd.evaluation.crosscheck.outcomes import Outcomes

_COLUMNS = ("benchmark", "our protocol", "responses", "agree", "differ", "not compared")

_PAGE = """# Cross-check with other evaluation frameworks

Invented responses to invented questions of all eight benchmarks, scored by us and by two frameworks, each run in an
environment of its own. This page is made from the recorded outcomes in tests/data/crosscheck by
`python -m benchmarks.crosscheck_page`; the test suite scores the same responses again, and fails if a difference
appears that is not named here, or if one that is named is gone.

- Judges are told what to say, so that both sides hear the same; letters that a parser would draw at random are none.
- *official* is compared where it follows the same scorer; *rule* where both sides read answers in a way of their own.
- Group metrics (WeMath, HallusionBench, OCRBench) are made of the framework's hits by both sides.
- VLMEvalKit is taken from its repository, at the commit that `official` follows for AI2D and MMStar. Its release
  ms-vlmeval 0.0.20 scores six of these responses otherwise: it does not look for "answer is X".

To run it again, or on your own responses:

```
{commands}
```
"""


def summary(backend: Backend, outcomes: Outcomes, compared: Sequence[Compared]) -> str:
    """How many responses of every benchmark are scored alike."""
    versions = ", ".join(f"{name} {version}" for name, version in outcomes.versions.items())
    rows = [list(_COLUMNS), *_counts(backend, compared)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([f"{outcomes.framework} ({versions})", *lines])


def page(recorded: Mapping[Backend, Outcomes]) -> str:
    """The text of docs/crosscheck.md."""
    commands = []
    for backend in recorded:
        check = f"vaopd eval crosscheck --backend {backend.name} --python ENV/bin/python"
        commands += [*backend.install, check, f"{check} --benchmark mmmu --responses responses.jsonl", ""]
    sections = [_PAGE.format(commands="\n".join(commands).rstrip())]
    for backend, outcomes in recorded.items():
        compared = compare(backend, synthetic(backend.layout), outcomes)
        sections.append(_section(backend, outcomes, compared, compare_metrics(backend, compared, outcomes)))
    return "\n".join(sections)


def _section(
    backend: Backend, outcomes: Outcomes, compared: Sequence[Compared], metrics: Sequence[ComparedMetric]
) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in outcomes.versions.items())
    total = sum(one.differs for one in compared)
    equal = [metric for metric in metrics if not metric.differs]
    groups: dict[str, list[str]] = {}
    for metric in equal:
        groups.setdefault(metric.benchmark, []).append(metric.name)
    told = "; ".join(f"{benchmark}: {', '.join(names)}" for benchmark, names in groups.items())
    return "\n".join(
        [
            f"## {outcomes.framework}",
            "",
            f"With {versions}. {len(compared)} responses, {len(compared) - total} scored alike, {total} not.",
            f"Group metrics: {len(equal)} of {len(metrics)} equal ({told}).",
            "",
            _markdown([_COLUMNS, *_counts(backend, compared)]),
            "",
            _markdown([("benchmark", "difference", "responses", "example", "why"), *_differences(backend, compared)]),
            "",
        ]
    )


def _counts(backend: Backend, compared: Sequence[Compared]) -> list[list[str]]:
    rows = []
    for benchmark in dict.fromkeys(one.case.benchmark for one in compared):
        of_benchmark = [one for one in compared if one.case.benchmark == benchmark]
        differ = sum(one.differs for one in of_benchmark)
        comparable = sum(one.is_comparable for one in of_benchmark)
        counts = (len(of_benchmark), comparable - differ, differ, len(of_benchmark) - comparable)
        rows.append([benchmark, backend.protocol(benchmark), *map(str, counts)])
    return rows


def _differences(backend: Backend, compared: Sequence[Compared]) -> list[tuple[str, ...]]:
    return [
        (known.benchmark, known.name, str(len(found)), _example(found[0]), known.reason)
        for known, found in named(backend, compared).items()
        if found
    ]


def _example(one: Compared) -> str:
    response = one.case.response if len(one.case.response) <= 60 else f"{one.case.response[:40]}..."
    ours = "none" if one.ours.hit is None else f"{one.ours.hit:g}"
    return f"`{response!r}`: {ours}, theirs {one.theirs}"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
