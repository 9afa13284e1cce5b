"""What one run directory holds: the selected and the last validation, its steps, and every held-out answer.

Axes: Q questions, n samples of one question.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from verl_vaopd.runs import events
from verl_vaopd.runs.checkpoints import best_step, complete_steps
from verl_vaopd.runs.run_dir import CHECKPOINTS, CONFIG
from verl_vaopd.runs.validation_samples import read_samples

STEP_SECONDS = "perf/step/seconds"
POLICY_ENTROPY = "vaopd/entropy/policy"


@dataclass(frozen=True)
class Answers:
    """Held-out answers of one model on one split; NaN where a sample failed or a quantity was not computed.

    Attributes:
        questions: Q ids, sorted.
        accuracy: [Q, n] float64, share.
        mean_va: [Q, n] float64, nats per token of the sample.
        entropy: [Q, n] float64, nats per token of the sample.
        answers: of each question, what stood in the box of every sample that did not fail; None: nothing.
    """

    questions: tuple[str, ...]
    accuracy: np.ndarray
    mean_va: np.ndarray
    entropy: np.ndarray
    answers: tuple[tuple[str | None, ...], ...]

    def of(self, questions: Sequence[str]) -> Answers:
        """Those of some of its questions, in their order."""
        place = {question: number for number, question in enumerate(self.questions)}
        rows = [place[question] for question in questions]
        return Answers(
            tuple(questions),
            self.accuracy[rows],
            self.mean_va[rows],
            self.entropy[rows],
            tuple(self.answers[row] for row in rows),
        )


def read_answers(run_dir: Path, step: int, split: str) -> Answers:
    """The answers of one validation on one of its splits.

    Raises:
        ValueError: the validation is not there, or has no such split.
    """
    table = read_samples(run_dir, step)
    splits = table.column("split").to_pylist()
    if split not in splits:
        raise ValueError(
            f"{run_dir}: got splits {sorted(set(splits))} in the validation of step {step}, expected {split}; "
            "name it in validation.splits"
        )
    table = table.filter(np.array(splits) == split)
    questions = tuple(sorted(set(table.column("question_id").to_pylist())))
    place = {question: number for number, question in enumerate(questions)}
    row = np.array([place[question] for question in table.column("question_id").to_pylist()])
    sample = table.column("sample").to_numpy()

    def matrix(name: str) -> np.ndarray:
        values = np.full((len(questions), sample.max() + 1), np.nan)
        values[row, sample] = table.column(name).to_numpy()
        return values

    accuracy = matrix("accuracy")
    given: list[list[str | None]] = [[] for _ in questions]
    for number, right, answer in zip(
        row, table.column("accuracy").to_numpy(), table.column("answer").to_pylist(), strict=True
    ):
        if not np.isnan(right):
            given[number].append(answer)
    return Answers(questions, accuracy, matrix("mean_va"), matrix("entropy"), tuple(map(tuple, given)))


def in_common(runs: Iterable[Answers]) -> list[Answers]:
    """The same, of the questions that all of them have."""
    runs = list(runs)
    shared = sorted(set.intersection(*(set(answers.questions) for answers in runs))) if runs else []
    return [answers.of(shared) for answers in runs]


def selected_validation(run_dir: Path) -> dict[str, Any]:
    """The validation of the best complete checkpoint, the earliest on ties; the last where none is both (no training).

    Raises ValueError for a run without any validation.
    """
    validations = all_validations(run_dir)
    best = best_step(validations, complete_steps(run_dir / CHECKPOINTS))
    return validations[-1] if best is None else next(event for event in validations if event["step"] == best)


def all_validations(run_dir: Path) -> list[dict[str, Any]]:
    """One event per validated step. Raises ValueError if there is none."""
    validations = events.validations(run_dir / events.FILE_NAME)
    if not validations:
        raise ValueError(f"{run_dir}: got no validation in {events.FILE_NAME}, expected at least one; is it a run?")
    return validations


def step_metrics(run_dir: Path) -> dict[int, dict[str, float | None]]:
    """{step: {metric: value}}; null values were computed and were not finite."""
    return {event["step"]: event["metrics"] for event in events.steps(run_dir / events.FILE_NAME)}


def seconds_per_step(run_dir: Path) -> float | None:
    """Median over the steps after the first, which warms up; None with fewer than two steps."""
    metrics = list(step_metrics(run_dir).values())[1:]
    seconds = [value for of_step in metrics if (value := of_step.get(STEP_SECONDS)) is not None]
    return statistics.median(seconds) if seconds else None


def configuration(run_dir: Path) -> DictConfig:
    """The resolved configuration of a run."""
    cfg = OmegaConf.load(run_dir / CONFIG)
    assert isinstance(cfg, DictConfig)
    return cfg
