"""Parts of a preparation: a few dozen problems each, written by all processors, one file each.

A part is written whole or not at all, and one that is there is not written again. What was dropped of it stands in the
file's metadata. Imports neither torch nor verl.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from verl_vaopd.data.prepared.candidate import Candidate, as_row, schema_of
from verl_vaopd.data.prepared.published import Published
from verl_vaopd.data.processes import num_processors, processes, results
from verl_vaopd.data.rows import RowError
from verl_vaopd.files import write_parquet
from verl_vaopd.progress import Bar

PART = 64
"""Problems; with images of some hundred KB, some ten MB."""
_PARTS_PER_PROCESS = 4  # a process takes as long to start as it takes to write some
_DROPPED = b"dropped"


@dataclass(frozen=True)
class Dropped:
    """A problem that cannot be used: why, in words that are the same for all of the kind, and what was found."""

    split: str
    id: str
    reason: str
    got: str


@dataclass(frozen=True)
class Part:
    """A file of rows that can be used."""

    path: Path

    @cached_property
    def ids(self) -> list[str]:
        """Of its rows, in their order."""
        return [info["index"] for info in pq.read_table(self.path, columns=["extra_info"])["extra_info"].to_pylist()]

    def rows(self) -> pa.Table:
        """All of it."""
        return pq.read_table(self.path).replace_schema_metadata(None)

    @cached_property
    def dropped(self) -> list[Dropped]:
        """What its problems lost."""
        return [Dropped(**each) for each in json.loads(pq.read_schema(self.path).metadata[_DROPPED])]


def write_parts(published: Published, split: str, directory: Path) -> list[Part]:
    """The parts of a split, in order; those that are missing are written.

    Raises:
        ValueError: a file of the source is damaged.
    """
    batches = list(range(0, published.num_rows(split), PART))
    parts = [Part(directory / f"{split}-{number:05d}.parquet") for number in range(len(batches))]
    missing = [number for number, part in enumerate(parts) if not part.path.exists()]
    if not missing:
        return parts
    calls = (
        (parts[number].path, split, published.data_source, schema_of(published.extra), batch)
        for number, batch in enumerate(_batches(published.candidates(split)))
        if number in missing
    )
    count, what = min(num_processors(), len(missing) // _PARTS_PER_PROCESS), f"preparing {split}"
    pool = processes(count, what) if count > 1 else contextlib.nullcontext()
    with pool as started, Bar(what, len(missing) * PART, " problems") as bar:
        done = results(started, write_part, calls, 2 * count) if started else itertools.starmap(write_part, calls)
        for num_problems in done:
            bar.update(num_problems)
    return parts


def write_part(path: Path, split: str, data_source: str, schema: pa.Schema, candidates: Sequence[Candidate]) -> int:
    """Write one part; returns its number of problems."""
    rows, dropped = [], []
    for candidate in candidates:
        try:
            rows.append(as_row(candidate, data_source))
        except RowError as error:
            reason = re.sub(r"\[\d+\]", "", f"{error.column}: {error.what}")
            dropped.append(asdict(Dropped(split, candidate.id, reason, error.got)))
    table = pa.Table.from_pylist(rows, schema).replace_schema_metadata({_DROPPED: json.dumps(dropped)})
    write_parquet(path, table)
    return len(candidates)


def _batches(candidates: Iterator[Candidate]) -> Iterator[list[Candidate]]:
    batch = []
    for candidate in candidates:
        batch.append(candidate)
        if len(batch) == PART:
            yield batch
            batch = []
    if batch:
        yield batch
