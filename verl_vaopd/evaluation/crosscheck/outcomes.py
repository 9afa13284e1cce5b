"""What a framework made of the cases: run now, or read from an earlier run."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verl_vaopd.evaluation.crosscheck.backends import Backend
from verl_vaopd.evaluation.crosscheck.case import Case
from verl_vaopd.evaluation.crosscheck.layouts import write_inputs
from verl_vaopd.runs.causes import error_excerpt

OUTCOMES = "outcomes.jsonl"
_LOG = "log.txt"
_LAST_LINES = 5
# Nothing goes out: no judge, no download; the key must be there for the import and is none.
_SETTINGS = {
    "OPENAI_API_KEY": "none",
    "OPENAI_API_BASE": "http://localhost:9",
    "OPENAI_API_URL": "http://localhost:9",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "LMUData": "LMUData",
    "PYTHONHASHSEED": "0",
    "TQDM_DISABLE": "1",
}
_NOT_OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PRED_FORMAT", "EVAL_FORMAT", "USE_LLM_JUDGE", "VERBOSE")


@dataclass(frozen=True)
class Outcome:
    """Of one case."""

    input_hash: str
    hit: float | None
    crash: str | None
    """The kind of error with which the framework's scorer stopped."""

    def __str__(self) -> str:
        return self.crash or f"{self.hit:g}"


@dataclass(frozen=True)
class Outcomes:
    """Of a run over all cases."""

    framework: str
    versions: Mapping[str, str]
    of_case: Mapping[tuple[str, str], Outcome]
    """By benchmark and id of the case."""
    metrics: Mapping[str, Mapping[str, float]]
    """Group metrics by benchmark, percentages under our names."""


def run(backend: Backend, python: str, cases: Sequence[Case], directory: Path) -> Outcomes:
    """Let a framework score the cases in its own interpreter.

    Args:
        python: see backends.check_interpreter.
        directory: new or empty; it keeps the input files, the framework's own results, its log and OUTCOMES.
    Raises:
        ValueError: see write_inputs; or the framework stopped.
    """
    write_inputs(backend, cases, directory)
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_OURS} | _SETTINGS
    log = directory / _LOG
    with log.open("wb") as file:
        process = subprocess.run(
            [os.path.abspath(python), "-u", str(backend.runner.resolve()), "."],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    if process.returncode:
        last = "\n".join(error_excerpt(log, limit=_LAST_LINES))
        raise ValueError(
            f"{backend.name} stopped with exit code {process.returncode}, see {log}; its last words:\n{last}"
        )
    return read_outcomes(directory / OUTCOMES)


def read_outcomes(path: Path) -> Outcomes:
    """What an earlier run wrote. Raises ValueError if that is no such file."""
    try:
        header, *rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        scored: list[dict[str, Any]] = [row for row in rows if "case" in row]
        return Outcomes(
            framework=header["framework"],
            versions=header["versions"],
            of_case={
                (row["benchmark"], row["case"]): Outcome(row["input"], row["hit"], row.get("crash")) for row in scored
            },
            metrics={row["benchmark"]: row["metrics"] for row in rows if "metrics" in row},
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: got {error!r}, expected the outcomes of a cross-check") from None
