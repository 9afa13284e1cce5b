"""Methods compared over the same questions and seeds: one row per method, and the raw numbers behind it.

`best` is the selected checkpoint of each run (its start where nothing is trained), `last` the end of training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from verl_vaopd.analysis.figures import draw_comparison
from verl_vaopd.analysis.runs import (
    Answers,
    all_validations,
    configuration,
    in_common,
    read_answers,
    seconds_per_step,
    selected_validation,
    step_metrics,
)
from verl_vaopd.files import result_files, write_parquet, write_text
from verl_vaopd.runs.validation_samples import read_samples, sample_steps
from verl_vaopd.stats.estimates import question_means
from verl_vaopd.stats.seeds import SeedEstimate, estimate_over_seeds, paired_difference
from verl_vaopd.stats.tables import ABSENT, fields, markdown_table, number, points, share, write_csv

RESULTS = (
    *("comparison.json", "comparison.csv", "comparison.md"),
    *("steps.csv", "questions.parquet", "learning_curves.png"),
)
FEW_SEEDS = 5
"""Below it, resampling seeds says too little about them (stats/seeds.py)."""

QUESTIONS = pa.schema(
    {
        "method": pa.string(),
        "seed": pa.int32(),
        "step": pa.int32(),
        "split": pa.string(),
        "question_id": pa.string(),
        "num_samples": pa.int32(),  # that did not fail
        "accuracy": pa.float32(),  # mean over them; NaN without any
        "mean_va": pa.float32(),  # nats per token, mean over them
    }
)


@dataclass(frozen=True)
class ComparedRun:
    """One finished run."""

    method: str
    seed: int
    path: Path


@dataclass(frozen=True)
class MethodResult:
    """One method over its finished seeds; differences are to the first method, over the seeds that both finished."""

    method: str
    seeds: tuple[int, ...]
    failed_seeds: tuple[int, ...]
    best_steps: tuple[int, ...]
    last_steps: tuple[int, ...]
    accuracy_best: SeedEstimate | None
    accuracy_last: SeedEstimate | None
    mean_va_best: SeedEstimate | None
    mean_va_last: SeedEstimate | None
    seconds_per_step: tuple[float, ...]  # of each seed with more than one step
    difference_best: SeedEstimate | None
    difference_last: SeedEstimate | None


@dataclass(frozen=True)
class _Measured:
    best_step: int
    last_step: int
    best: Answers
    last: Answers
    seconds_per_step: float | None


def method_results(methods: Sequence[str], seeds: Sequence[int], runs: Sequence[ComparedRun]) -> list[MethodResult]:
    """One result per method, in the order given; accuracies on the questions that all runs have.

    Args:
        methods, seeds: of the comparison; what is not among the runs has failed.
        runs: finished ones.
    """
    measured = _measure(runs)
    return [_result(method, seeds, measured, methods[0]) for method in methods]


def comparison_table(
    results: Sequence[MethodResult],
    runs: Sequence[ComparedRun],
    failures: Mapping[str, str],
    per_method: Mapping[str, Sequence[str]],
) -> str:
    """The results as Markdown, with what the numbers are above and what to mind below.

    Args:
        failures: {name of the run: why it did not finish}.
        per_method: {method: overrides that it alone had}.
    """
    first = results[0].method
    head = ["", "seeds", "best at step", "accuracy, best", "accuracy, last", "mean VA, best", "s/step"]
    rows = [[*head, f"best, minus {first}", f"last, minus {first}"], *map(_row, results)]
    estimates = [result.accuracy_best for result in results if result.accuracy_best is not None]
    num_samples = configuration(runs[0].path).validation.n
    caption = (
        f"Held-out accuracy (avg@{num_samples}, {estimates[0].n_questions} questions) and mean "
        "visual advantage (VA, nats per token):\nmean over seeds [95 % interval over questions] (lowest to highest "
        f"seed). Differences to {first} in points of accuracy,\npaired by question and seed [95 % interval over "
        "questions and seeds]. Seconds per step: median after the first."
    )
    notes = [
        *_cautions(results, runs),
        *(f"Only {method}: {' '.join(overrides)}" for method, overrides in per_method.items()),
        *(f"Not finished: {name}: {reason}" for name, reason in failures.items()),
    ]
    return "\n".join([caption, "", markdown_table(rows), "", *(f"- {note}" for note in notes)])


def _cautions(results: Sequence[MethodResult], runs: Sequence[ComparedRun]) -> list[str]:
    """What the numbers do not say."""
    found = [
        "`best` is selected on the same questions, so its accuracy is optimistic; that of `last` is not, unless "
        "settings were chosen on them."
    ]
    if max(len(result.seeds) for result in results) < FEW_SEEDS:
        found.append(
            f"Fewer than {FEW_SEEDS} seeds know little of how training runs differ: the intervals of differences may "
            "be too narrow."
        )
    if len(results) > 2:
        found.append("Every interval is for itself: of many differences, some lie outside of 0 by chance.")
    teachers = {run.method: configuration(run.path).teacher.path for run in runs}
    first = next(iter(teachers))
    others = [method for method, teacher in teachers.items() if teacher != teachers[first]]
    if others:
        found.append(
            f"Mean VA of {', '.join(others)} is measured with another teacher than that of {first}: do not compare "
            "them."
        )
    estimates = [result.accuracy_best for result in results if result.accuracy_best is not None]
    if any(estimate.n_left_out for estimate in estimates):
        found.append("Questions of which a run has no answer at all are left out of its method's score.")
    return found


def write_comparison(
    directory: Path,
    results: Sequence[MethodResult],
    runs: Sequence[ComparedRun],
    failures: Mapping[str, str],
    settings: Mapping[str, Any],
) -> str:
    """Write RESULTS; returns the table.

    Args:
        settings: JSON values that say what was compared; `per_method` as comparison_table.
    """
    table = comparison_table(results, runs, failures, settings["per_method"])
    records = [_record(result) for result in results]
    content = {"settings": settings, "not_finished": failures, "methods": records}
    steps = [
        {"method": run.method, "seed": run.seed, "step": step, **metrics}
        for run in runs
        for step, metrics in step_metrics(run.path).items()
    ]
    curves: dict[str, list[list[dict[str, Any]]]] = {}
    for run in runs:
        curves.setdefault(run.method, []).append(all_validations(run.path))
    with result_files(directory) as staged:
        write_text(staged / "comparison.json", json.dumps(content, indent=2) + "\n")
        write_csv(staged / "comparison.csv", records)
        write_text(staged / "comparison.md", table + "\n")
        write_csv(staged / "steps.csv", steps)
        _write_questions(staged / "questions.parquet", runs)
        draw_comparison(curves, staged / "learning_curves.png")
    return table


def _measure(runs: Sequence[ComparedRun]) -> dict[tuple[str, int], _Measured]:
    steps = [(selected_validation(run.path)["step"], all_validations(run.path)[-1]["step"]) for run in runs]
    split = configuration(runs[0].path).validation.splits[0]  # which selects checkpoints
    answers = in_common(
        read_answers(run.path, step, split) for run, pair in zip(runs, steps, strict=True) for step in pair
    )
    return {
        (run.method, run.seed): _Measured(*pair, *best_and_last, seconds_per_step(run.path))
        for run, pair, best_and_last in zip(runs, steps, zip(answers[::2], answers[1::2], strict=True), strict=True)
    }


def _result(
    method: str, seeds: Sequence[int], measured: Mapping[tuple[str, int], _Measured], first: str
) -> MethodResult:
    finished = tuple(seed for seed in seeds if (method, seed) in measured)
    own = [measured[method, seed] for seed in finished]
    shared = [seed for seed in finished if (first, seed) in measured] if method != first else []

    def over_seeds(when: str, quantity: str) -> SeedEstimate | None:
        return estimate_over_seeds([getattr(getattr(run, when), quantity) for run in own]) if own else None

    def difference(when: str) -> SeedEstimate | None:
        if not shared:
            return None
        ours, theirs = ([getattr(measured[name, seed], when).accuracy for seed in shared] for name in (method, first))
        return paired_difference(ours, theirs)

    return MethodResult(
        method=method,
        seeds=finished,
        failed_seeds=tuple(seed for seed in seeds if seed not in finished),
        best_steps=tuple(run.best_step for run in own),
        last_steps=tuple(run.last_step for run in own),
        accuracy_best=over_seeds("best", "accuracy"),
        accuracy_last=over_seeds("last", "accuracy"),
        mean_va_best=over_seeds("best", "mean_va"),
        mean_va_last=over_seeds("last", "mean_va"),
        seconds_per_step=tuple(run.seconds_per_step for run in own if run.seconds_per_step is not None),
        difference_best=difference("best"),
        difference_last=difference("last"),
    )


def _row(result: MethodResult) -> list[str]:
    seeds = ", ".join(map(str, result.seeds)) or ABSENT
    failed = f" ({len(result.failed_seeds)} failed)" if result.failed_seeds else ""
    return [
        result.method,
        seeds + failed,
        ", ".join(map(str, result.best_steps)) or ABSENT,
        share(result.accuracy_best),
        share(result.accuracy_last),
        number(result.mean_va_best),
        _seconds(result.seconds_per_step),
        points(result.difference_best),
        points(result.difference_last),
    ]


def _seconds(of_seeds: Sequence[float]) -> str:
    if not of_seeds:
        return ABSENT
    spread = f" ({min(of_seeds):.1f} to {max(of_seeds):.1f})" if len(of_seeds) > 1 else ""
    return f"{sum(of_seeds) / len(of_seeds):.1f}{spread}"


def _record(result: MethodResult) -> dict[str, Any]:
    """The result as one flat JSON object."""
    record: dict[str, Any] = {}
    for name, value in vars(result).items():
        if value is None or isinstance(value, SeedEstimate):
            record |= fields(name, value)
        else:
            record[name] = list(value) if isinstance(value, tuple) else value
    return record


def _write_questions(path: Path, runs: Sequence[ComparedRun]) -> None:
    """One row per question of every validation of every run (QUESTIONS)."""
    rows: list[dict[str, Any]] = []
    for run in runs:
        for step in sample_steps(run.path):
            for split in sorted(set(read_samples(run.path, step).column("split").to_pylist())):
                answers = read_answers(run.path, step, split)
                where = {"method": run.method, "seed": run.seed, "step": step, "split": split}
                columns = zip(
                    answers.questions,
                    map(len, answers.answers),
                    question_means(answers.accuracy),
                    question_means(answers.mean_va),
                    strict=True,
                )
                names = ("question_id", "num_samples", "accuracy", "mean_va")
                rows += [where | dict(zip(names, values, strict=True)) for values in columns]
    write_parquet(path, pa.Table.from_pylist(rows, schema=QUESTIONS), compression="zstd")
