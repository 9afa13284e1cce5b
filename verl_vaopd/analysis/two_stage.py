"""Two-stage post-training: a model before, between and after its stages, on the same questions.

Points: `init`, the student as it was; `boundary`, the checkpoint of stage 1 that stage 2 starts from; `end`, the
selected checkpoint of stage 2. Each is measured by a validation-only run with n samples per question. Intervals are
over questions: there is one training run of each stage, so they do not say how another seed would end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verl_vaopd.analysis.figures import draw_two_stage
from verl_vaopd.analysis.points import POINTS, Change, Measured, measure
from verl_vaopd.analysis.runs import POLICY_ENTROPY, step_metrics
from verl_vaopd.files import result_files, write_text
from verl_vaopd.stats.estimates import Estimate
from verl_vaopd.stats.tables import fields, markdown_table, number, points, share, write_csv

RESULTS = ("two_stage.json", "two_stage.csv", "entropy.csv", "two_stage.md", "two_stage.png")
TABLE_KS = (4, 16)  # of pass@k; all are in the files


@dataclass(frozen=True)
class Trained:
    """One stage: its run and the step of its checkpoint that went on."""

    name: str
    path: Path
    step: int


def trajectory(stages: Sequence[Trained]) -> list[dict[str, Any]]:
    """Policy entropy of every training step of both stages.

    Returns: rows of stage, step (in its stage), path_step (counted from the start of stage 1 along the checkpoints that
        went on), on_path (False for steps after the checkpoint that went on) and entropy (nats per token, on training
        rollouts; None where it was not finite or not computed).
    """
    rows: list[dict[str, Any]] = []
    done = 0
    for stage in stages:
        for step, metrics in step_metrics(stage.path).items():
            where = {"stage": stage.name, "step": step, "path_step": done + step, "on_path": step <= stage.step}
            rows.append(where | {"entropy": metrics.get(POLICY_ENTROPY)})
        done += stage.step
    return rows


def two_stage_table(measured: Sequence[Measured], changes: Sequence[Change], stages: Sequence[Trained]) -> str:
    """The points and the changes as Markdown."""
    splits = list(dict.fromkeys(result.split for result in measured))
    at = {(result.point, result.split): result for result in measured}
    num_samples = len(measured[0].pass_at)
    ks = [k for k in TABLE_KS if k <= num_samples]
    head = ["", *(f"accuracy, {split}" for split in splits), "policy entropy", f"distinct of {num_samples}"]
    rows = [[*head, *(f"pass@{k}" for k in ks)]]
    for point in POINTS:
        own = at[point, splits[0]]
        cells = [point, *(share(at[point, split].accuracy) for split in splits)]
        cells += [number(own.entropy), number(own.distinct, digits=2)]
        rows.append([*cells, *(share(own.pass_at[k - 1]) for k in ks)])
    difference = {(change.earlier, change.later, change.split): change.accuracy for change in changes}
    pairs = list(dict.fromkeys((change.earlier, change.later) for change in changes))
    change_rows = [["points of accuracy", *splits]]
    for earlier, later in pairs:
        cells = [points(difference[earlier, later, split]) for split in splits]
        change_rows.append([f"{later}, minus {earlier}", *cells])
    where = "; ".join(f"{stage.name}: step {stage.step} of {_last_step(stage)}" for stage in stages)
    counts = ", ".join(f"{split} {at[POINTS[0], split].accuracy.n_questions}" for split in splits)
    caption = (
        f"{where}. Questions: {counts}; {num_samples} samples each.\n"
        "[95 % intervals over questions], of one training run per stage. Entropy (nats per token), distinct answers\n"
        f"and pass@k (unbiased) are on {splits[0]}; accuracy is pass@1."
    )
    notes = [
        f"Checkpoints were selected on {splits[0]}: its accuracy after a stage is optimistic. {', '.join(splits[1:])} "
        "selected nothing.",
        "A response without an answer counts as an answer of its own, one for all of them.",
    ]
    missing = {f"{m.point}, {m.split}": m.accuracy.n_missing_samples for m in measured if m.accuracy.n_missing_samples}
    notes += [f"{count} answers of {where} failed and are left out." for where, count in missing.items()]
    tables = [markdown_table(rows), markdown_table(change_rows)]
    return "\n\n".join([caption, *tables, "\n".join(f"- {note}" for note in notes)])


def write_two_stage(
    directory: Path,
    runs: Mapping[str, Path],
    splits: Sequence[str],
    stages: Sequence[Trained],
    settings: Mapping[str, Any],
) -> str:
    """Write RESULTS; returns the table.

    Args:
        runs, splits: as measure.
        stages: in order.
        settings: JSON values that say what was run.
    """
    measured, changes = measure(runs, splits)
    path = trajectory(stages)
    table = two_stage_table(measured, changes, stages)
    rows = [row for result in measured for row in _rows(result)]
    change_rows = [
        {"earlier": change.earlier, "later": change.later, "split": change.split, **fields("accuracy", change.accuracy)}
        for change in changes
    ]
    steps = {stage.name: stage.step for stage in stages}
    content = {"settings": settings, "steps": steps, "points": rows, "changes": change_rows, "trajectory": path}
    with result_files(directory) as staged:
        write_text(staged / "two_stage.json", json.dumps(content, indent=1) + "\n")
        write_csv(staged / "two_stage.csv", rows)
        write_csv(staged / "entropy.csv", path)
        write_text(staged / "two_stage.md", table + "\n")
        draw_two_stage(measured, path, staged / "two_stage.png")
    return table


def _rows(result: Measured) -> list[dict[str, Any]]:
    """One row per quantity: its value with the limits, and how many questions it is of."""
    num_samples = len(result.pass_at)
    quantities: list[tuple[str, int | None, Estimate]] = [("accuracy", None, result.accuracy)]
    quantities += [("pass_at_k", k, estimate) for k, estimate in enumerate(result.pass_at, start=1)]
    quantities += [("distinct_answers", num_samples, result.distinct), ("policy_entropy", None, result.entropy)]
    return [
        {"point": result.point, "split": result.split, "quantity": quantity, "k": k}
        | fields("value", estimate)
        | {"n_questions": estimate.n_questions, "n_left_out": estimate.n_empty_questions}
        for quantity, k, estimate in quantities
    ]


def _last_step(stage: Trained) -> int:
    return max(step_metrics(stage.path), default=0)
