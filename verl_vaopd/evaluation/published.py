"""The files in which benchmarks are published: VLMEvalKit's TSV and Hugging Face parquet, read as a stream.

A TSV holds base64 images, or in their place the index of the row that has them. Such cells are not kept: an image knows
its row's offset in the file and is read from there when it is wanted, so memory is bounded by one row, whatever the
size of the file. Parquet is read row by row; what is held beside the row is one page of the file as it is stored and as
it was before compression, and many writers put a row group's images into one page.

An empty cell is a missing value; texts like "None" or "NA" are texts. (VLMEvalKit's reader takes them for missing
values and loses options of that name.)
"""

import ast
import base64
import binascii
import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

_POINTER_LENGTH = 64  # a shorter cell is no image but the index of the row that has it
_MAX_CELL = 1 << 30  # csv refuses cells above 128 KB unless told otherwise; an image of 10 megapixels has some 20 MB
_PARQUET_BUFFER = 1 << 16
_LIST_ITEM = re.compile(r"""['"]([A-Za-z0-9+/=\s]+)['"]""")


class RawImage(Protocol):
    """An image as published, not read yet."""

    @property
    def key(self) -> str:
        """Equal for equal images of one file."""

    def read(self) -> bytes:
        """The image file's bytes. Raises ValueError or OSError if they cannot be had."""


@dataclass(frozen=True)
class ImageBytes:
    """An image that came with its row."""

    data: bytes

    @property
    def key(self) -> str:
        """Hash of the bytes."""
        return _hash(self.data)

    def read(self) -> bytes:
        """See RawImage."""
        return self.data


@dataclass(frozen=True)
class ImageFile:
    """An image file."""

    path: Path

    @property
    def key(self) -> str:
        """The path."""
        return str(self.path)

    def read(self) -> bytes:
        """See RawImage."""
        return self.path.read_bytes()


@dataclass(frozen=True)
class TsvImage:
    """Image number `number` in the row that begins at byte `offset` of a TSV."""

    path: Path
    offset: int
    column: int
    number: int
    key: str

    def read(self) -> bytes:
        """See RawImage."""
        _, record = next(_records(self.path, self.offset))
        try:
            return base64.b64decode(_image_texts(record[self.column])[self.number], validate=False)
        except binascii.Error as error:
            raise ValueError(
                f"{self.path}: got {error} in the image of the row at byte {self.offset}, expected base64; "
                "download the file again"
            ) from None


Row = tuple[dict[str, Any], tuple[RawImage, ...]]
"""Columns without images, and the images in the order of their columns."""


def read_rows(path: Path, splits: Sequence[str]) -> Iterator[Row]:
    """The rows of a published file, in order.

    Args:
        path: a .tsv or .parquet file, or a directory that has one TSV, or parquet files of the wanted split at any
            depth. Where it has both, the parquet files count.
        splits: names of the split's parquet files up to the first dot or hyphen.
    Raises:
        ValueError: nothing to read there, a TSV image that points nowhere, or text that is not UTF-8.
    """
    for file in _files(path, splits):
        yield from _tsv_rows(file) if file.suffix == ".tsv" else _parquet_rows(file)


def as_list(value: Any) -> list[Any]:
    """A list column: a list as such, the text of one (as a TSV holds it) read, anything else as its only item."""
    if isinstance(value, str) and value[:1] == "[" and value[-1:] == "]":
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return [value]
    return list(value) if isinstance(value, list | tuple) else [value]


def as_mapping(value: Any) -> dict[str, Any]:
    """A struct column: a dict as such, the text of one read; an empty one for anything else."""
    if isinstance(value, str) and value[:1] == "{":
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return {}
    return value if isinstance(value, dict) else {}


def _files(path: Path, splits: Sequence[str]) -> list[Path]:
    if path.is_file() and path.suffix in (".tsv", ".parquet"):
        return [path]
    if path.is_dir():
        parquet = {file for split in splits for file in path.rglob(f"{split}[.-]*parquet")}
        tables = sorted(path.glob("*.tsv"))
        if parquet:
            return sorted(parquet)
        if len(tables) == 1:
            return tables
    raise ValueError(
        f"{path}: expected a .tsv or .parquet file, or a directory with one .tsv or with {splits[0]}*.parquet; "
        "name the file"
    )


def _records(path: Path, offset: int = 0) -> Iterator[tuple[int, list[str]]]:
    """Every record of a TSV from a byte offset on, with its own offset; a record may span lines."""
    csv.field_size_limit(_MAX_CELL)
    consumed = start = offset
    with path.open("rb") as file:
        file.seek(offset)

        def lines() -> Iterator[str]:
            nonlocal consumed
            for line in file:
                consumed += len(line)
                yield line.decode("utf-8-sig" if consumed == len(line) else "utf-8")

        try:
            # The reader takes no more lines than the record needs, so `consumed` is where the next one starts.
            for record in csv.reader(lines(), dialect="excel-tab"):
                if record:
                    yield start, record
                start = consumed
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path}: got {error} after byte {start}, expected a tab-separated UTF-8 table") from None


def _tsv_rows(path: Path) -> Iterator[Row]:
    records = _records(path)
    _, header = next(records, (0, []))
    if "index" not in header or "image" not in header:
        raise ValueError(f"{path}: got columns {', '.join(header)}, expected `index` and `image` among them")
    image_column, index_column = header.index("image"), header.index("index")
    found: dict[str, tuple[TsvImage, ...]] = {}
    for offset, record in records:
        if len(record) != len(header):
            raise ValueError(f"{path}: got {len(record)} cells in the row at byte {offset}, expected {len(header)}")
        cell, index = record[image_column], record[index_column]
        if len(cell) > _POINTER_LENGTH:
            found[index] = _tsv_images(path, offset, image_column, cell)
        elif cell and cell not in found:
            found |= _all_images(path, image_column, index_column)
            if cell not in found:
                raise ValueError(f"{path}: the image of row {index} points to row {cell}, which has none")
        fields = {name: text for name, text in zip(header, record, strict=True) if name != "image"}
        yield fields, found[index if len(cell) > _POINTER_LENGTH else cell] if cell else ()


def _tsv_images(path: Path, offset: int, column: int, cell: str) -> tuple[TsvImage, ...]:
    return tuple(
        TsvImage(path, offset, column, number, _hash(text.encode())) for number, text in enumerate(_image_texts(cell))
    )


def _all_images(path: Path, image_column: int, index_column: int) -> dict[str, tuple[TsvImage, ...]]:
    """Of every row that has images; for the file whose rows point forward."""
    records = _records(path)
    next(records)
    return {
        record[index_column]: _tsv_images(path, offset, image_column, record[image_column])
        for offset, record in records
        if len(record) > max(image_column, index_column) and len(record[image_column]) > _POINTER_LENGTH
    }


def _image_texts(cell: str) -> list[str]:
    return _LIST_ITEM.findall(cell) if cell[:1] == "[" else [cell]


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow.parquet as pq

    # Without pre-buffering and with a buffer of its own, pyarrow holds a page and not all of the row group's.
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=_PARQUET_BUFFER) as file:
        columns = {column.name: _image_kind(column.type) for column in file.schema_arrow}
        for row in _parquet_dicts(file):
            cells = [row.pop(name) for name, kind in columns.items() if kind]
            items = [item for cell in cells for item in (cell if isinstance(cell, list) else [cell])]
            yield row, tuple(_parquet_image(path, item) for item in items if item is not None)


def _parquet_dicts(file: Any) -> Iterator[dict[str, Any]]:
    """Rows of a ParquetFile. A page of images is half a gigabyte: what held its compressed bytes, and then the page,
    goes back to the system at once, where pyarrow's pool would keep it."""
    import pyarrow

    pool = pyarrow.default_memory_pool()
    for group in range(file.num_row_groups):
        pool.release_unused()
        for batch in file.iter_batches(batch_size=1, row_groups=[group]):
            pool.release_unused()
            yield from batch.to_pylist()


def _image_kind(column_type: Any) -> bool:
    """Whether a column holds images or lists of them: structs of bytes and path, or bare bytes (as MMStar's)."""
    import pyarrow.types as types

    if types.is_list(column_type) or types.is_large_list(column_type):
        column_type = column_type.value_type
    if types.is_struct(column_type):
        return {"bytes", "path"} <= {child.name for child in column_type}
    return types.is_binary(column_type) or types.is_large_binary(column_type)


def _parquet_image(path: Path, item: dict[str, Any] | bytes) -> RawImage:
    if isinstance(item, bytes):
        return ImageBytes(item)
    return ImageBytes(item["bytes"]) if item["bytes"] is not None else ImageFile(path.parent / item["path"])


def _hash(data: bytes) -> str:
    return blake2b(data, digest_size=8).hexdigest()
