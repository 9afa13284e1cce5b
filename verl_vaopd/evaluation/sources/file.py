"""Responses made elsewhere: a JSONL file, one row per response.

A row has `question` (the id, as in questions.jsonl), `response`, and if there are several `benchmark` and `sample`
(from 0); `finish_reason` and `num_tokens` where they are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from verl_vaopd.evaluation.json_lines import numbered_objects
from verl_vaopd.evaluation.sources.source import Request, Response


class ImportedSource:
    """The responses of a file, held in memory.

    Args:
        path: of the file.
        benchmarks: those that are asked for; a row without `benchmark` is of the only one.
    Raises:
        ValueError: no file, a line that is no such row, or two rows for one sample.
    """

    occupancy = None
    num_gpus = 0

    def __init__(self, path: Path, benchmarks: Iterable[str]) -> None:
        names = tuple(benchmarks)
        self._path = path
        self._rows: dict[tuple[str, str, int], dict[str, Any]] = {}
        for number, row in _lines(path):
            if "benchmark" not in row and len(names) > 1:
                raise ValueError(f"{path}: line {number}: got no `benchmark`, expected one of {', '.join(names)}")
            key = (row.get("benchmark", names[0]), str(row["question"]), row.get("sample", 0))
            if key in self._rows:
                raise ValueError(
                    f"{path}: line {number}: got question {key[1]!r}, sample {key[2]} twice, expected once"
                )
            self._rows[key] = row

    def responses(self, requests: Iterable[Request]) -> Iterator[list[Response]]:
        """See source.Source. Raises ValueError for a response that is not in the file."""
        for request in requests:
            yield [self._response(request, sample) for sample in request.samples]

    def close(self) -> None:
        """Nothing is held."""

    def _response(self, request: Request, sample: int) -> Response:
        row = self._rows.get((request.benchmark, request.question.id, sample))
        if row is None:
            raise ValueError(
                f"{self._path}: got no response of {request.benchmark}, question {request.question.id!r}, sample "
                f"{sample}; expected n of them for every question; add it, or ask for fewer with n= or limit="
            )
        return Response(
            benchmark=request.benchmark,
            question=request.question.id,
            sample=sample,
            seed=row.get("seed"),
            text=row["response"],
            finish_reason=row.get("finish_reason"),
            num_tokens=row.get("num_tokens"),
        )


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if not path.is_file():
        raise ValueError(f"responses: got {path}, expected a JSONL file that exists")
    with path.open("rb") as file:
        for number, row in numbered_objects(file, path):
            if not {"question", "response"} <= row.keys():
                raise ValueError(f"{path}: line {number}: expected an object with `question` and `response`")
            if not (row["response"] is None or isinstance(row["response"], str)):
                raise ValueError(f"{path}: line {number}: response: got {row['response']!r}, expected a text, or null")
            sample = row.get("sample", 0)
            if type(sample) is not int or sample < 0:
                raise ValueError(f"{path}: line {number}: sample: got {sample!r}, expected a number from 0")
            yield number, row
