"""`vaopd eval table`: the layout of the paper's Table 1, with intervals, and beside every score what it is made of."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any, get_args

from verl_vaopd.evaluation.benchmark import PaperAverage
from verl_vaopd.evaluation.benchmarks import BENCHMARKS, PAPER
from verl_vaopd.evaluation.results import Result, benchmarks_in, common_protocol, read_result
from verl_vaopd.files import result_files, write_text
from verl_vaopd.stats.few_clusters import FEW_CLUSTERS
from verl_vaopd.stats.tables import ABSENT, markdown_table, write_csv

AVERAGES = {
    title: [name for name in PAPER if BENCHMARKS[name].paper_average == title] for title in get_args(PaperAverage)
}
TABLES = ("table.md", "table.tex", "table.html", "table.csv", "details.csv")
_NORMAL = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Score:
    """In per cent, whatever the benchmark is out of."""

    value: float
    low: float
    high: float
    standard_error: float

    def __str__(self) -> str:
        """`46.6 [44.0, 49.1]`"""
        if math.isnan(self.value):
            return ABSENT
        limits = "" if math.isnan(self.low) else f" [{self.low:.1f}, {self.high:.1f}]"
        return f"{self.value:.1f}{limits}"


def score_of(result: Result) -> Score:
    """The headline with its 95 % interval over clusters."""
    terms = result.headline
    low, high = terms.interval()
    return Score(*(100.0 * value for value in (terms.value(), low, high, terms.standard_error())))


def average(scores: Sequence[Score]) -> Score:
    """Mean of independent scores; the interval is normal, from their clustered standard errors."""
    value = math.fsum(score.value for score in scores) / len(scores)
    error = math.sqrt(math.fsum(score.standard_error**2 for score in scores)) / len(scores)
    return Score(value, value - _NORMAL * error, value + _NORMAL * error, error)


def make_tables(runs: Sequence[Path], protocol: str | None, out: Path) -> str:
    """Write TABLES (table.csv: scores, details.csv: all metrics) into a directory.

    Args:
        runs: run directories; a run's name is that of its directory.
        protocol: None: the only one that all runs have.
        out: made if it is not there.
    Returns: the text of table.md.
    Raises:
        ValueError: no scores, two protocols, runs that were asked other questions or judged by other judges, and files
            of these names that are not ours.
    """
    chosen = common_protocol(runs, protocol)
    results = [{name: read_result(run, name, chosen) for name in benchmarks_in(run, chosen)} for run in runs]
    require_comparable(results)
    names = [run.resolve().name for run in runs]
    scores = [{name: score_of(result) for name, result in of_run.items()} for of_run in results]
    layout = _layout({name for of_run in scores for name in of_run})
    rows = [["model", *map(_title, layout)]]
    rows += [
        [name, *(str(_cell(of_run, column) or ABSENT) for column in layout)]
        for name, of_run in zip(names, scores, strict=True)
    ]
    details = [
        _detail(run, result, of_run[name])
        for run, of_run, of_results in zip(names, scores, results, strict=True)
        for name, result in of_results.items()
    ]
    caption = f"{_measure(results)}, protocol {chosen}, per cent, with 95 % intervals over clusters of questions"
    beside = _beside(details)
    parts = [f"{caption}.", markdown_table(rows), markdown_table(beside), *_explanations(names, results)]
    text = "\n\n".join([*parts, _how(names, results)]) + "\n"
    by_column = [_csv_row(name, of_run, layout) for name, of_run in zip(names, scores, strict=True)]
    with result_files(out) as staged:
        write_text(staged / "table.md", text)
        write_text(staged / "table.tex", latex(rows, caption))
        write_text(staged / "table.html", as_html([rows, beside], caption))
        write_csv(staged / "table.csv", by_column)
        write_csv(staged / "details.csv", details)
    return text


def require_comparable(results: Sequence[Mapping[str, Result]]) -> None:
    """Check that the scores of a benchmark mean the same in all runs.

    Raises:
        ValueError: other questions, another judge or other switches.
    """
    for name in BENCHMARKS:
        there = [of_run[name].identity for of_run in results if name in of_run]
        for key in ("questions", "judge", "switches"):
            if any(identity[key] != there[0][key] for identity in there):
                told = " and ".join(dict.fromkeys(str(identity[key]) for identity in there))
                raise ValueError(
                    f"{name}: got runs with different {key} ({told}), expected the same; evaluate them alike, or make "
                    "a table of each"
                )


def latex(rows: Sequence[Sequence[str]], caption: str) -> str:
    """A booktabs table; the limits of a score stand small beside it."""
    lines = [" & ".join(_latex_cell(cell) for cell in row) + r" \\" for row in rows]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{_latex_text(caption)}.}}",
            rf"\begin{{tabular}}{{l{'c' * (len(rows[0]) - 1)}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def as_html(tables: Sequence[Sequence[Sequence[str]]], caption: str) -> str:
    """A page with the tables."""
    parts = []
    for rows in tables:
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0])
        body = "\n".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:]
        )
        parts.append(f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>")
    style = "table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .7em;text-align:right}" + (
        "td:first-child,th:first-child{text-align:left}thead{border-bottom:1px solid}"
    )
    page = f'<!doctype html>\n<meta charset="utf-8">\n<title>Evaluation</title>\n<style>{style}</style>\n'
    return page + f"<p>{html.escape(caption)}.</p>\n" + "\n".join(parts) + "\n"


def _layout(present: set[str]) -> list[str]:
    """Columns: those of the paper with their averages if there is any of them, then the others."""
    columns: list[str] = []
    if present & set(PAPER):
        for title, names in AVERAGES.items():
            columns += [*names, title]
    return columns + [name for name in BENCHMARKS if name in present and name not in PAPER]


def _title(column: str) -> str:
    return BENCHMARKS[column].title if column in BENCHMARKS else column


def _cell(scores: Mapping[str, Score], column: str) -> Score | None:
    """A benchmark's score, or an average of which nothing is missing."""
    if column not in AVERAGES:
        return scores.get(column)
    found = [scores[name] for name in AVERAGES[column] if name in scores]
    return average(found) if len(found) == len(AVERAGES[column]) else None


def _csv_row(name: str, scores: Mapping[str, Score], layout: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"model": name}
    for column in layout:
        score, title = _cell(scores, column), _title(column)
        known = score is not None and not math.isnan(score.value)
        for suffix, key in (("", "value"), (" low", "low"), (" high", "high")):
            row[title + suffix] = getattr(score, key) if known else None
    return row


def _detail(run: str, result: Result, score: Score) -> dict[str, Any]:
    detail = {
        "model": run,
        "benchmark": result.benchmark.title,
        "questions": len(result.questions),
        "clusters": len(result.headline.clusters),
        "n": result.n,
        "score": score.value,
        "low": score.low,
        "high": score.high,
        **result.shares(),
        **{f"pass_at_{k}": 100.0 * result.pass_at(k) for k in _draws(result.n)},
        "pass_at_n": 100.0 * result.pass_at(result.n),
        "majority_at_n": 100.0 * result.majority_at_n(),
        **result.metrics,
    }
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in detail.items()}


def _draws(n: int) -> list[int]:
    """Powers of two below n."""
    return [1 << power for power in range(n.bit_length()) if 1 << power < n]


_BESIDE = {
    "unparsed": "unparsed %",
    "truncated": "truncated %",
    "judge_failed": "not judged %",
    "failed": "failed %",
    "mean_length": "mean length",
    "pass_at_n": "pass@n",
    "majority_at_n": "majority@n",
}


def _beside(details: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    counts = ("questions", "clusters", "n")
    rows = [["model", "benchmark", *counts, "score", *_BESIDE.values()]]
    for detail in details:
        numbers = [ABSENT if detail[key] is None else f"{detail[key]:.1f}" for key in ("score", *_BESIDE)]
        rows.append([detail["model"], detail["benchmark"], *(str(detail[key]) for key in counts), *numbers])
    return rows


def _measure(results: Sequence[Mapping[str, Result]]) -> str:
    counts = sorted({result.n for of_run in results for result in of_run.values()})
    return "avg@" + "/".join(map(str, counts))


def _explanations(names: Sequence[str], results: Sequence[Mapping[str, Result]]) -> list[str]:
    """A line for every score that is a mean of others, or out of more than 100; one block, or none."""
    lines = []
    for run, of_run in zip(names, results, strict=True):
        for result in of_run.values():
            if told := [f"{metric} {result.metrics[metric]:.1f}" for metric in result.benchmark.explained_by]:
                of_how_many = "" if result.benchmark.max_points == 100.0 else f" of {result.benchmark.max_points:.0f}"
                lines.append(f"- {run}, {result.benchmark.title}: {', '.join(told)}{of_how_many}")
    return ["\n".join(lines)] if lines else []


def _how(names: Sequence[str], results: Sequence[Mapping[str, Result]]) -> str:
    """Which intervals are which, and how each run was sampled and judged."""
    lines = [
        f"Intervals: bootstrap over clusters, Student's t for fewer than {FEW_CLUSTERS}; of averages normal. Where all "
        "clusters agree the width is 0, which says nothing of what was not seen.\n"
    ]
    for name, of_run in zip(names, results, strict=True):
        identity = next(iter(of_run.values())).identity
        settings = {**identity["sampling"], "seed": identity["seed"]}
        for result in of_run.values():
            settings |= result.identity["switches"]
        told = ", ".join(f"{key} {value}" for key, value in settings.items())
        judge = identity["judge"]
        lines.append(f"- {name}: {told}" + (f"; judge {judge['model']}" if judge else ""))
    return "\n".join(lines)


def _latex_cell(cell: str) -> str:
    value, bracket, limits = cell.partition(" [")
    return _latex_text(value) + (rf" {{\scriptsize [{limits}}}" if bracket else "")


def _latex_text(text: str) -> str:
    return "".join(f"\\{char}" if char in "&%$#_{}" else char for char in text)
