"""The check of all rows of data files before a start: read_row on every row, every image decoded, in all processors.

A file is read as a stream, so memory is bounded by the rows that are on their way, whatever the size of the file.
Imports neither torch nor verl; what measures prompts in tokens is given by whoever has a model.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from verl_vaopd.data.processes import num_processors, processes, results
from verl_vaopd.data.rows import COLUMNS, REQUIRED, Row, RowError, Verbatim, read_row
from verl_vaopd.parquet import open_parquet, single_rows
from verl_vaopd.progress import Bar

Measure = Callable[[Row, Sequence[tuple[int, int]]], None]
"""Takes a row and the (width, height) of its images, and raises RowError for a prompt that has no room."""

Numbered = tuple[int, dict[str, Any] | RowError]
"""Number of a row and its columns, or what keeps them from being read."""

NUM_LISTED = 10
"""Bad rows that an error lists; the rest is counted."""
_BATCH_ROWS, _BATCH_BYTES = 64, 8 << 20
_ROWS_PER_PROCESS = 200  # a process takes as long to start as it takes to check some hundred images


@dataclass
class Checked:
    """What the check has found in files.

    Attributes:
        num_rows: {file: its rows}, of files that can be read.
        num_images: {file: those of its good rows}.
        bad: the first NUM_LISTED problems: file, number of the row (None: the file itself), what is wrong.
        num_bad: all of them.
        longest: tokens of the longest prompt that is too long; 0 where none is.
        left_out: {file: numbers of the rows that are left out}, sorted, where too long ones are.
    """

    num_rows: dict[Path, int] = field(default_factory=dict)
    num_images: Counter[Path] = field(default_factory=Counter)
    bad: list[tuple[Path, int | None, RowError]] = field(default_factory=list)
    num_bad: int = 0
    longest: int = 0
    left_out: dict[Path, list[int]] = field(default_factory=dict)

    def add(self, file: Path, row: int | None, error: RowError) -> None:
        """One more problem."""
        self.num_bad += 1
        self.longest = max(self.longest, error.num_tokens)
        self.bad = sorted([*self.bad, (file, row, error)], key=lambda bad: (str(bad[0]), bad[1] or 0))[:NUM_LISTED]

    def raise_if_bad(self) -> None:
        """Raise ValueError that lists the first bad rows and counts all."""
        if not self.num_bad:
            return
        listed = "" if self.num_bad == len(self.bad) else f"; the first {len(self.bad)} of them:"
        lines = [f"data files: {self.num_bad} rows or files cannot be used (rows are counted from 0){listed}"]
        for file, row, error in self.bad:
            place = f"{file}, row {row}" if row is not None else str(file)
            lines += [
                f"  {place}, {error.column}: {error.what}",
                f"    got:      {error.got}",
                f"    expected: {error.expected}",
                f"    fix:      {error.fix}",
            ]
        lines += [f"  The longest prompt has {self.longest} tokens."] if self.longest else []
        raise ValueError("\n".join(lines))


def check_files(
    files: Sequence[Path],
    prompt_suffix: str,
    measures: Mapping[Path, Callable[[], Measure]] | None = None,
    in_process: bool = False,
    drop_overlong: bool = False,
) -> Checked:
    """Check every row of data files.

    Args:
        files: parquet.
        prompt_suffix: as read_row.
        measures: {file: makes what measures its prompts}, made once in every process; picklable.
        in_process: check in this process, which has a model's libraries already.
        drop_overlong: a prompt that is too long is left out, and is no problem.
    """
    checked = Checked()
    readable = []
    for file in files:
        try:
            checked.num_rows[file] = require_columns(file)
            readable.append(file)
        except RowError as error:
            checked.add(file, None, error)
    total = sum(checked.num_rows.values())
    num_processes = min(num_processors(), -(-total // _ROWS_PER_PROCESS))
    checker = Checker(prompt_suffix, {str(file): make for file, make in (measures or {}).items()})
    pool: contextlib.AbstractContextManager[Executor | None] = contextlib.nullcontext()
    if total and not in_process:
        pool = processes(num_processes, "checking rows", _begin, checker)
    with pool as started, Bar("checking rows", total, " rows") as bar:
        for file in readable:
            first_with: dict[str, int] = {}
            for outcomes in _outcomes(file, checker, started, num_processes):
                _take(file, outcomes, checked, first_with, drop_overlong)
                bar.update(len(outcomes))
    return checked


def require_columns(file: Path) -> int:
    """The number of rows of a parquet file that has the columns. Raises RowError about the file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    expected = f"a parquet file with the columns {', '.join(REQUIRED)}"
    try:
        with pq.ParquetFile(file) as opened:
            names, num_rows = opened.schema_arrow.names, opened.metadata.num_rows
            maps = [path for field in opened.schema_arrow if field.name in COLUMNS for path in _maps(field, field.name)]
    except (pa.ArrowException, OSError) as error:
        got = Verbatim("an empty file" if file.is_file() and not file.stat().st_size else " ".join(str(error).split()))
        raise RowError("the file", "cannot be read", got, expected, "write it again (docs/user_guide.md)") from None
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        got = Verbatim(f"no {', '.join(missing)} among {', '.join(names)}")
        raise RowError("the file", "lacks columns", got, expected, "docs/user_guide.md shows a row")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RowError("the file", "has a column twice", Verbatim(", ".join(twice)), expected, "name it otherwise")
    if maps:  # which the library that keeps the rows on disk cannot read (rollout/dataset.py)
        raise RowError("the file", "has a map", Verbatim(", ".join(maps)), "structs and lists", "write it as a struct")
    if not num_rows:
        raise RowError("the file", "has no rows", Verbatim("0 rows"), "at least one row", "write it again")
    return num_rows


def _maps(field: Any, path: str) -> Iterator[str]:
    """Where in a field of an Arrow schema there are maps."""
    import pyarrow.types as types

    if types.is_map(field.type):
        yield path
    elif types.is_nested(field.type):
        children = [field.type.field(number) for number in range(field.type.num_fields)]
        for child in children:
            yield from _maps(child, f"{path}.{child.name}")


def stream(file: Path) -> Iterator[Numbered]:
    """Number and columns of every row, or what keeps it from being read; at most a page is held beside it."""
    import pyarrow as pa

    number = 0
    with open_parquet(file) as opened:
        columns = [name for name in COLUMNS if name in opened.schema_arrow.names]
        try:
            for batch in single_rows(opened, columns):
                yield number, _as_dict(batch)
                number += 1
        except (pa.ArrowException, OSError) as error:
            got = Verbatim(" ".join(str(error).split()))
            yield number, RowError("the file", "is damaged from here on", got, "a whole file", "write it again")


def _as_dict(batch: Any) -> dict[str, Any] | RowError:
    try:
        (row,) = batch.to_pylist()
        return row
    except UnicodeDecodeError as error:
        return RowError("a text column", "no text", Verbatim(error), "UTF-8", "write the text as UTF-8")


Outcome = tuple[int, str | None, int, RowError | None]
"""Number of the row, its index, its images, what is wrong."""


class Checker:
    """Checks rows, in this process or in one that it is sent to; there, what measures is made once for each file."""

    def __init__(self, prompt_suffix: str, makers: Mapping[str, Callable[[], Measure]]) -> None:
        self._prompt_suffix, self._makers = prompt_suffix, makers
        self._measures: dict[str, Measure] = {}

    def outcomes(self, file: str, rows: Sequence[Numbered]) -> list[Outcome]:
        """One for each row."""
        if file in self._makers and file not in self._measures:
            self._measures[file] = self._makers[file]()
        return [self._outcome(file, number, raw) for number, raw in rows]

    def _outcome(self, file: str, number: int, raw: dict[str, Any] | RowError) -> Outcome:
        try:
            if isinstance(raw, RowError):
                raise raw
            row = read_row(raw, number, Path(file).parent, self._prompt_suffix)
            sizes = row.require_images()
            if file in self._measures:
                self._measures[file](row, sizes)
        except RowError as error:
            return number, None, 0, error
        return number, row.index, len(sizes), None


_checkers: list[Checker] = []
"""In a process that checks for another one: its checker."""


def _begin(checker: Checker) -> None:
    _checkers.append(checker)


def _outcomes_there(file: str, rows: Sequence[Numbered]) -> list[Outcome]:
    return _checkers[0].outcomes(file, rows)


def _outcomes(file: Path, checker: Checker, pool: Executor | None, num_processes: int) -> Iterator[list[Outcome]]:
    """Of all rows of a file, batch by batch, as they are ready; few batches are on their way at a time."""
    batches = _batches(stream(file))
    if pool is None:
        yield from (checker.outcomes(str(file), batch) for batch in batches)
    else:
        yield from results(pool, _outcomes_there, ((str(file), batch) for batch in batches), 2 * num_processes)


def _take(
    file: Path, outcomes: Sequence[Outcome], checked: Checked, first_with: dict[str, int], drop_overlong: bool
) -> None:
    """Count the rows of a batch; first_with: {index: the row that was first to have it}."""
    for number, index, num_images, error in outcomes:
        checked.num_images[file] += num_images
        if error is not None and error.num_tokens and drop_overlong:
            checked.left_out[file] = sorted([*checked.left_out.get(file, []), number])
        elif error is not None:
            checked.add(file, number, error)
        if index is not None and (other := first_with.setdefault(index, number)) != number:
            got = Verbatim(f"{index}, as in row {min(number, other)}")
            expected, fix = "another one in every row", "number the rows, or leave it out in all of them"
            checked.add(file, max(number, other), RowError("extra_info.index", "not its own", got, expected, fix))


def _batches(rows: Iterator[Numbered]) -> Iterator[list[Numbered]]:
    batch: list[Numbered] = []
    size = 0
    for number, raw in rows:
        batch.append((number, raw))
        size += 0 if isinstance(raw, RowError) else _num_bytes(raw.get("images"))
        if len(batch) == _BATCH_ROWS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _num_bytes(images: Any) -> int:
    """Of the images in a row, whatever they are."""
    items = images if isinstance(images, list) else [images]
    values = [item.get("bytes") if isinstance(item, Mapping) else item for item in items]
    return sum(len(value) for value in values if isinstance(value, bytes | str))
