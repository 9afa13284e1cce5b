"""Responses made elsewhere: a file of any kind that published.py reads, one row per response.

A row has `question` (the id, as `vaopd eval questions` prints it), `response`, and if there are several `benchmark` and
`sample` (from 0; where no row has it, a question's responses are numbered as they stand there); `finish_reason` and
`num_tokens` where they are known. A JSON object by ids holds a question's row, or its response alone, under the id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from verl_vaopd.answers.closing import has_end_token
from verl_vaopd.evaluation.benchmarks import BENCHMARKS
from verl_vaopd.evaluation.formats.entry import Entry
from verl_vaopd.evaluation.published import TABLES_OF_TEXT, read_file
from verl_vaopd.evaluation.response_rows import number_of, question_of, response_of, unknown_question
from verl_vaopd.evaluation.sources.source import Request, Response

_NUMBERS = ("sample", "num_tokens", "seed")
_SHOWN = 3

Ids = Mapping[str, Sequence[str]]
"""Of all questions, by benchmark."""


class ImportedSource:
    """The responses of a file, held in memory.

    Args:
        path: of the file.
        ids: of the benchmarks that are asked for; a row without `benchmark` is of the only one.
    Raises:
        ValueError: no file, a row that is no response or of no known question, or two rows for one sample.
    """

    occupancy = None
    num_gpus = 0

    def __init__(self, path: Path, ids: Ids) -> None:
        self._path, self._ids = path, ids
        self._rows: dict[tuple[str, str, int], dict[str, Any]] = {}
        self._not_asked: Counter[str] = Counter()
        known = {name: frozenset(of_name) for name, of_name in ids.items()}
        entries = _entries(path, frozenset().union(*known.values()))
        numbered = any("sample" in entry.fields for entry in entries)
        seen: Counter[tuple[str, str]] = Counter()
        for entry in entries:
            try:
                name, question, row = self._read(entry.fields, known)
                if name not in known:
                    self._not_asked[name] += 1
                    continue
                key = (name, question, row.get("sample", 0) if numbered else seen[name, question])
                if key in self._rows:
                    raise ValueError(f"got question {question!r}, sample {key[2]} twice, expected once")
            except ValueError as error:
                raise ValueError(f"{path}: {entry.place}: {error}") from None
            seen[name, question] += 1
            self._rows[key] = row

    def num_samples(self, n: int | None, limit: int | None) -> int:
        """How many responses of each question are taken.

        Args:
            n: that are wanted; None: all, if every question has as many.
            limit: of the questions of each benchmark, only the first so many; None: all.
        Raises:
            ValueError: some question has fewer, or, without n, more than another.
        """
        there = Counter((name, question) for name, question, _ in self._rows)
        counts = {key: there[key] for key in self._asked(limit)}
        fewest, most = min(counts.values()), max(counts.values())
        if fewest < (n or most or 1):
            raise ValueError(f"{self._path}: got {_told(counts)}, expected {n or 'as many'} to each; {_advice(fewest)}")
        taken = n or most
        for name, question in counts:
            for sample in range(taken):
                if (name, question, sample) not in self._rows:
                    raise ValueError(
                        f"{self._path}: got no response to {name}, question {question!r}, sample {sample}; expected "
                        f"`sample` to be each number from 0 to {taken - 1}; number them anew, or leave `sample` out"
                    )
        return taken

    def describe(self, n: int, limit: int | None) -> str:
        """What is taken of the file, and what is left out."""
        asked = set(self._asked(limit))
        taken = sum((name, question) in asked and sample < n for name, question, sample in self._rows)
        told = [f"{self._path}: n={n}, {taken} responses to {len(asked)} questions"]
        told += [f"{count} of {name}, which is not asked for, are left out" for name, count in self._not_asked.items()]
        num_end_tokens = sum(has_end_token(row["response"] or "") for row in self._rows.values())
        if num_end_tokens:
            told.append(f"{num_end_tokens} end with an end token, which `rule` leaves out")
        if taken < len(self._rows):
            told.append(f"{len(self._rows) - taken} beyond n= or limit= are left out")
        return "; ".join(told)

    def responses(self, requests: Iterable[Request]) -> Iterator[list[Response]]:
        """See source.Source; num_samples has found them all."""
        for request in requests:
            yield [self._response(request, sample) for sample in request.samples]

    def close(self) -> None:
        """Nothing is held."""

    def _asked(self, limit: int | None) -> list[tuple[str, str]]:
        return [(name, question) for name, of_name in self._ids.items() for question in of_name[:limit]]

    def _read(self, row: dict[str, Any], known: Mapping[str, frozenset[str]]) -> tuple[str, str, dict[str, Any]]:
        """Benchmark, question and the row itself, checked."""
        names = tuple(self._ids)
        if "benchmark" not in row and len(names) > 1:
            raise ValueError(f"got no `benchmark`, expected one of {', '.join(names)}")
        name = row.get("benchmark", names[0])
        if not isinstance(name, str) or name not in BENCHMARKS:
            raise ValueError(f"benchmark: got {name!r}, expected one of {', '.join(BENCHMARKS)}")
        response_of(row)
        question = question_of(row)
        number_of(row, "sample")
        number_of(row, "num_tokens")
        if not isinstance(row.get("finish_reason"), str | None):
            raise ValueError(f"finish_reason: got {row['finish_reason']!r}, expected a text such as stop, or null")
        if name in known and question not in known[name]:
            raise ValueError(unknown_question(row, name, self._ids[name]))
        return name, question, row

    def _response(self, request: Request, sample: int) -> Response:
        row = self._rows[request.benchmark, request.question.id, sample]
        return Response(
            benchmark=request.benchmark,
            question=request.question.id,
            sample=sample,
            seed=row.get("seed"),
            text=row["response"],
            finish_reason=row.get("finish_reason"),
            num_tokens=row.get("num_tokens"),
        )


def _entries(path: Path, ids: Set[str]) -> list[Entry]:
    if not path.is_file():
        raise ValueError(f"responses: got {path}, expected a file that exists")
    entries = list(read_file(path))
    if len(entries) == 1 and entries[0].fields.keys() & ids:  # an object of responses by their ids
        by_id = entries[0].fields.items()
        return [Entry(f"question {question!r}", {"question": question, "response": text}) for question, text in by_id]
    if path.suffix.lower() in TABLES_OF_TEXT:
        return [replace(entry, fields=_typed(entry.fields)) for entry in entries]
    return [
        entry if entry.key is None else replace(entry, fields={**entry.fields, "question": entry.key})
        for entry in entries
    ]


def _typed(row: Mapping[str, str]) -> dict[str, Any]:
    """A table's numbers; an empty cell is no value, but an empty response is one."""
    values: dict[str, Any] = {name: text for name, text in row.items() if text or name == "response"}
    return values | {name: int(text) for name, text in row.items() if name in _NUMBERS and text.isdecimal()}


def _told(counts: Mapping[tuple[str, str], int]) -> str:
    by_count: dict[int, list[str]] = {}
    for (_, question), count in counts.items():
        by_count.setdefault(count, []).append(question)
    told = []
    for count, questions in sorted(by_count.items(), reverse=True):
        such = ", ".join(map(repr, questions[:_SHOWN]))
        told.append(f"{count or 'no'} to each of {len(questions)} questions (such as {such})")
    return f"responses: {', '.join(told)}"


def _advice(fewest: int) -> str:
    if fewest == 0:
        return "add the missing ones (with null as response where there is none), or ask for the first with limit="
    return f"add the missing ones, or take the first {fewest} of each with n={fewest}"
