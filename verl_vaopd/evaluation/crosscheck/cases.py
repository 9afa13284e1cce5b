"""All cases: the synthetic ones, and those of a user's file."""

from __future__ import annotations

from pathlib import Path

from verl_vaopd.evaluation.crosscheck import choice_cases, maths_cases, open_cases
from verl_vaopd.evaluation.crosscheck.case import Case
from verl_vaopd.evaluation.formats.json_rows import read_json


def synthetic(layout: str) -> list[Case]:
    """The synthetic cases of all eight benchmarks.

    Args:
        layout: "tsv" for the columns of VLMEvalKit's files, "hf" for those of the Hugging Face data sets.
    """
    return [*choice_cases.cases(layout), *maths_cases.cases(layout), *open_cases.cases(layout)]


def read_cases(path: Path, benchmark: str) -> list[Case]:
    """A user's responses: JSONL as `vaopd eval score` reads it, and `replies` by role if a judge is to be stood in for.

    Raises:
        ValueError: no file, a line that is no such row, or responses of several passes.
    """
    if not path.is_file():
        raise ValueError(f"--responses {path}: expected a JSONL file, one row per response")
    cases = []
    samples = set()
    with path.open("rb") as file:
        for entry in read_json(file, path):
            row = dict(entry.fields)
            if not isinstance(row.get("response", ""), str | None):
                raise ValueError(f"{path}: {entry.place}: expected a text as `response`")
            response, replies = row.pop("response", None), row.pop("replies", {})
            samples.add(row.get("sample", 0))
            cases.append(Case(benchmark, entry.place, row, response or "", replies))
    if not cases or len(samples) > 1:
        got = f"samples {', '.join(map(str, sorted(samples, key=str)))}" if cases else "no rows"
        raise ValueError(f"{path}: got {got}, expected the responses of one pass; split them by `sample`")
    return cases
