"""Scores of a run's responses, of one benchmark by one protocol.

A run's directory has a directory for every benchmark:

    questions.jsonl         id, cluster and fields of every question
    responses.jsonl         a journal (storage.py): one row per question and sample
    scores-PROTOCOL.jsonl   made anew from both whenever it is asked for: header, then one row per question and sample
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from verl_vaopd.evaluation.benchmark import Benchmark
from verl_vaopd.evaluation.judge import CachedJudge
from verl_vaopd.evaluation.storage import Row, encode, read_identity, read_rows
from verl_vaopd.files import write_text
from verl_vaopd.platform.vllm_engine import request_seed

QUESTIONS, RESPONSES = "questions.jsonl", "responses.jsonl"
_CHUNK = 1024


@dataclass(frozen=True)
class Scored:
    """One response and its verdict."""

    question: str
    sample: int
    parsed: str | None
    hit: float | None
    """None: not scored, because the response or the judge's call failed, or there is no judge."""
    failed: bool
    """There is no response."""
    truncated: bool
    num_tokens: int | None


def scores_path(directory: Path, protocol: str) -> Path:
    """Of a benchmark's directory."""
    return directory / f"scores-{protocol}.jsonl"


def require_own_scores(directory: Path) -> None:
    """Raise ValueError if a file that has the name of scores has not their header: it is not written over."""
    for path in directory.glob("scores-*.jsonl"):
        if "protocol" not in read_identity(path):
            raise ValueError(f"{path}: got no header of scores, expected a file that `vaopd eval` wrote; move it away")


def read_questions(directory: Path) -> Iterator[Row]:
    """The lines of questions.jsonl. Raises ValueError if there is none."""
    path = directory / QUESTIONS
    if not path.is_file():
        raise ValueError(f"{path}: expected the questions of a run; run `vaopd eval` first")
    with path.open("rb") as file:
        for line in file:
            yield json.loads(line)


def latest_responses(directory: Path) -> dict[tuple[str, int], Row]:
    """The row that counts of every question and sample: the last one."""
    return {(row["question"], row["sample"]): row for row in read_rows(directory / RESPONSES)}


def score_responses(
    benchmark: Benchmark,
    directory: Path,
    protocol: str,
    n: int,
    judge: CachedJudge | None = None,
    concurrency: int = 1,
    progress: Callable[[int], object] = lambda _: None,
) -> Path:
    """Score the first n samples of every question.

    Args:
        benchmark: whose responses they are.
        directory: of the benchmark in the run's.
        protocol: one of benchmark.protocols.
        n: samples per question.
        judge: for `official`.
        concurrency: scored at a time; more than 1 is of use only with a judge.
        progress: told how many more are done.
    Returns: the file of scores.
    Raises:
        ValueError: a sample is missing.
    """
    rows = latest_responses(directory)
    jobs = []
    for question in read_questions(directory):
        for sample in range(n):
            if (question["question"], sample) not in rows:
                raise ValueError(
                    f"{directory}: got no response to question {question['question']!r}, sample {sample}; expected "
                    f"{n} of each; run the evaluation again to finish it"
                )
            jobs.append((question, rows[question["question"], sample]))

    def verdict(job: tuple[Row, Row]) -> Scored:
        return _score(benchmark, protocol, judge, *job)

    lines = [encode({"identity": _identity(benchmark, directory, protocol, n, judge)})]
    with ThreadPoolExecutor(concurrency) as pool:
        for start in range(0, len(jobs), _CHUNK):
            chunk = jobs[start : start + _CHUNK]
            scored = pool.map(verdict, chunk) if concurrency > 1 else map(verdict, chunk)
            lines += [encode(vars(one)) for one in scored]
            progress(len(chunk))
    path = scores_path(directory, protocol)
    write_text(path, "".join(lines))
    return path


def _score(benchmark: Benchmark, protocol: str, judge: CachedJudge | None, question: Row, row: Row) -> Scored:
    failed = row["response"] is None
    parsed, hit = None, None
    if not failed:
        # The seed of the official parsers' random fallbacks differs between samples.
        seed = request_seed(0, f"{row['question']} {row['sample']}")
        try:
            verdict = benchmark.score(question["fields"], row["response"], protocol, judge, seed)
        except ValueError as error:
            raise ValueError(f"{benchmark.name}: question {row['question']!r}: {error}") from None
        parsed, hit = verdict.parsed, verdict.hit
    return Scored(
        question=row["question"],
        sample=row["sample"],
        parsed=parsed,
        hit=hit,
        failed=failed,
        truncated=row["finish_reason"] == "length",
        num_tokens=row["num_tokens"],
    )


def _identity(
    benchmark: Benchmark, directory: Path, protocol: str, n: int, judge: CachedJudge | None
) -> dict[str, Any]:
    return {
        **read_identity(directory / RESPONSES),
        "protocol": protocol,
        "switches": asdict(benchmark),
        "n": n,
        "judge": None if judge is None else judge.identity,
    }
