"""Scores of one benchmark in a run's directory, read back with all that a table says about them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from verl_vaopd.evaluation.benchmark import PROTOCOLS, Benchmark
from verl_vaopd.evaluation.benchmarks import BENCHMARKS
from verl_vaopd.evaluation.headline import Headline, headline
from verl_vaopd.evaluation.scoring import read_questions, scores_path
from verl_vaopd.evaluation.shares import percent
from verl_vaopd.evaluation.storage import Row, read_identity, read_rows
from verl_vaopd.stats.estimates import mean_of_present
from verl_vaopd.stats.pass_at_k import chance_of_any, count_right, question_majority


@dataclass(frozen=True)
class Result:
    """Q questions, n samples of each."""

    benchmark: Benchmark
    identity: dict[str, Any]
    """Model, sampling, questions, protocol, switches of the benchmark, n, judge."""
    questions: list[Row]
    scores: list[Row]
    """Q * n rows, question by question."""

    @property
    def n(self) -> int:
        """Samples per question."""
        return int(self.identity["n"])

    @cached_property
    def passes(self) -> list[list[Row]]:
        """n times the scored rows of all questions, as Benchmark.aggregate takes them."""
        return [
            [
                {**question["fields"], "parsed": score["parsed"], "hit": score["hit"]}
                for question, score in zip(self.questions, self.scores[sample :: self.n], strict=True)
            ]
            for sample in range(self.n)
        ]

    @cached_property
    def headline(self) -> Headline:
        """Of all passes."""
        return headline(self.benchmark, self.passes, [question["cluster"] for question in self.questions])

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Of Benchmark.aggregate, mean over passes: its points and percentages."""
        of_passes = [self.benchmark.aggregate(rows) for rows in self.passes]
        return {name: math.fsum(metrics[name] for metrics in of_passes) / self.n for name in of_passes[0]}

    def pass_at(self, k: int) -> float:
        """Unbiased chance that one of k samples is right, over the questions with so many scored; NaN for none."""
        right, present = count_right(self._hits())
        return mean_of_present(chance_of_any(right, present, k))

    def majority_at_n(self) -> float:
        """Share of questions whose most frequent answer is right, among those whose samples are all scored."""
        hits = self._hits()
        parsed = np.array([score["parsed"] for score in self.scores], dtype=object).reshape(hits.shape)
        scored = ~np.isnan(hits).any(axis=1)
        return mean_of_present(question_majority(parsed[scored].tolist(), hits[scored].tolist(), self.n))

    def shares(self) -> dict[str, float]:
        """Percentages of the responses, and their mean length in tokens (NaN where it is not known)."""
        rows = self.scores
        lengths = [row["num_tokens"] for row in rows if row["num_tokens"] is not None]
        return {
            "unparsed": percent(row["parsed"] is None and not row["failed"] for row in rows),
            "truncated": percent(row["truncated"] for row in rows),
            "judge_failed": percent(row["hit"] is None and not row["failed"] for row in rows),
            "failed": percent(row["failed"] for row in rows),
            "mean_length": math.fsum(lengths) / len(lengths) if lengths else math.nan,
        }

    def _hits(self) -> np.ndarray:
        """[Q, n] float64; NaN where a sample is not scored."""
        return np.array([row["hit"] for row in self.scores], dtype=np.float64).reshape(-1, self.n)


def read_result(run: Path, name: str, protocol: str) -> Result:
    """One benchmark of a run.

    Raises:
        ValueError: there is none, or its files do not belong together.
    """
    path = scores_path(run / name, protocol)
    identity = read_identity(path)
    questions, scores = list(read_questions(run / name)), list(read_rows(path))
    expected = [(question["question"], sample) for question in questions for sample in range(identity["n"])]
    if [(row["question"], row["sample"]) for row in scores] != expected:
        raise ValueError(f"{path}: got scores of other questions than questions.jsonl; run the evaluation again")
    return Result(replace(BENCHMARKS[name], **identity["switches"]), identity, questions, scores)


def benchmarks_in(run: Path, protocol: str) -> list[str]:
    """The benchmarks that a run has scores of, in the order of the tables."""
    return [name for name in BENCHMARKS if scores_path(run / name, protocol).is_file()]


def common_protocol(runs: Iterable[Path], wanted: str | None) -> str:
    """The protocol of a table: the one that is wanted, else the only one that the runs have scores by.

    Raises:
        ValueError: a run without scores (by that protocol), or two protocols.
    """
    there: dict[str, list[str]] = {}
    for run in runs:
        found = [protocol for protocol in PROTOCOLS if benchmarks_in(run, protocol)]
        if not found or (wanted is not None and wanted not in found):
            raise ValueError(
                f"{run}: got scores by protocol {', '.join(found) or 'none'}, expected {wanted or 'some'}; "
                "run `vaopd eval` there first"
            )
        for protocol in found:
            there.setdefault(protocol, []).append(str(run))
    if wanted is None and len(there) > 1:
        told = "; ".join(f"{protocol} in {', '.join(names)}" for protocol, names in there.items())
        raise ValueError(f"protocol: got two ({told}), expected one in a table; choose it with --protocol")
    return wanted or next(iter(there))
