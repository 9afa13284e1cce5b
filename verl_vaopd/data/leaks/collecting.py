"""Rows and questions to compare, and what is kept of them: no image, so that all of a data set fit into memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from verl_vaopd.data.checking import stream
from verl_vaopd.data.leaks.pictures import Picture, picture_of
from verl_vaopd.data.leaks.questions import Asked, asked
from verl_vaopd.data.processes import num_processors, processes, results
from verl_vaopd.data.rows import RowError, read_row
from verl_vaopd.image_files import ImageFileError
from verl_vaopd.progress import Bar

_BATCH_ITEMS, _BATCH_BYTES = 1024, 4 << 20


@dataclass(frozen=True)
class Item:
    """A row of a data file, or a question of a benchmark."""

    id: str
    """In its file."""
    question: str
    images: tuple[bytes, ...]
    """Image files that are there."""
    num_missing: int = 0
    """Images that it has and that are not there."""


@dataclass(frozen=True)
class Kept:
    """What is kept of an Item to compare it."""

    id: str
    question: Asked
    pictures: tuple[Picture, ...]
    num_missing: int
    """Images that are not there, or that load_image refuses."""

    @property
    def is_text(self) -> bool:
        """Whether it is a question without any image."""
        return not self.pictures and not self.num_missing


@dataclass(frozen=True)
class Collection:
    """A file or a benchmark."""

    name: str
    rows: tuple[Kept, ...]

    @property
    def num_pictures(self) -> int:
        """That can be compared."""
        return sum(len(row.pictures) for row in self.rows)

    @property
    def num_missing(self) -> int:
        """Images that cannot be compared."""
        return sum(row.num_missing for row in self.rows)

    @property
    def num_hidden(self) -> int:
        """Rows that cannot be found at all: without a picture, and with a question that many share."""
        return sum(not (row.pictures or row.is_text or row.question.is_specific) for row in self.rows)


def items_of(file: Path, prompt_suffix: str) -> Iterator[Item]:
    """The rows of a data file that has been checked (data/checking.py).

    Args:
        file: parquet.
        prompt_suffix: cut off the end of questions.
    Raises:
        ValueError: a row that cannot be used.
    """
    for number, raw in stream(file):
        try:
            if isinstance(raw, RowError):
                raise raw
            row = read_row(raw, number, file.parent, prompt_suffix)
        except RowError as error:
            raise ValueError(f"{file}, row {number}, {error}") from None
        content = row.messages[-1]["content"]
        parts = [content] if isinstance(content, str) else [part["text"] for part in content if "text" in part]
        yield Item(row.index, " ".join(parts).removesuffix(prompt_suffix), row.images)


def collect(name: str, items: Iterable[Item], total: int | None) -> Collection:
    """Read a file or a benchmark, in all processors.

    Args:
        name: for tables.
        items: read once; few are held at a time.
        total: how many there are; None: nobody knows.
    Raises:
        ValueError: as items do.
    """
    batches: dict[int, list[Kept]] = {}
    with Bar(f"comparing {name}", total, " rows") as bar:
        for number, kept in _in_all_processors(enumerate(_batches(items))):
            batches[number] = kept
            bar.update(len(kept))
    return Collection(name, tuple(row for number in sorted(batches) for row in batches[number]))


def kept_of(item: Item) -> Kept:
    """What is kept of an item."""
    pictures = []
    for data in item.images:
        try:
            pictures.append(picture_of(data))
        except ImageFileError:  # of a benchmark; those of a data file have been checked
            continue
    num_missing = item.num_missing + len(item.images) - len(pictures)
    return Kept(item.id, asked(item.question), tuple(pictures), num_missing)


def _in_all_processors(batches: Iterator[tuple[int, list[Item]]]) -> Iterator[tuple[int, list[Kept]]]:
    """Each batch with its number, as it is ready. A single one is not worth starting processes."""
    first = [batch for batch in (next(batches, None), next(batches, None)) if batch]
    if len(first) < 2:
        yield from (_kept(*batch) for batch in first)
        return
    count = num_processors()
    with processes(count, "comparing images") as pool:
        yield from results(pool, _kept, chain(first, batches), 2 * count)


def _kept(number: int, items: list[Item]) -> tuple[int, list[Kept]]:
    return number, [kept_of(item) for item in items]


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    batch: list[Item] = []
    size = 0
    for item in items:
        batch.append(item)
        size += sum(len(data) for data in item.images)
        if len(batch) == _BATCH_ITEMS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
