"""Tables of text: TSV, as VLMEvalKit publishes, and CSV, read as a stream.

The column `image` holds base64 images, one or a Python list of them, or in their place the index of the row that has
them, before or after, or a path. Base64 cells are not kept: an image knows its row's offset in the file and is read
from there when it is wanted, so memory is bounded by one row, whatever the size of the file.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from verl_vaopd.evaluation.formats.entry import Entry
from verl_vaopd.evaluation.formats.images import ImageFile, RawImage, from_base64, hash_of

DIALECTS = {".tsv": "excel-tab", ".csv": "excel"}
_IMAGE, _INDEX = "image", "index"
_POINTER_LENGTH = 64  # a shorter cell is no image but the index of the row that has it, or a path
_MAX_CELL = 1 << 30  # csv refuses cells above 128 KB unless told otherwise; an image of 10 megapixels has some 20 MB
_LIST_ITEM = re.compile(r"""['"]([A-Za-z0-9+/=\s]+)['"]""")
_IMAGE_NAME = re.compile(r"\.(?:png|jpe?g|gif|bmp|webp|tiff?)$", re.IGNORECASE)


@dataclass(frozen=True)
class TableImage:
    """Image number `number` in the row that begins at byte `offset` of a table."""

    path: Path
    offset: int
    column: int
    number: int
    key: str

    def missing(self) -> None:
        """See RawImage."""

    def read(self) -> bytes:
        """See RawImage."""
        _, record = next(_records(self.path, self.offset))
        text = _image_texts(record[self.column])[self.number]
        return from_base64(text, f"{self.path}: the image of the row at byte {self.offset}")


def read_delimited(path: Path) -> Iterator[Entry]:
    """The rows of a table, whose first record is the header.

    Raises:
        ValueError: no header, a row of another length, an image that points nowhere, text that is not UTF-8.
    """
    records = _records(path)
    _, header = next(records, (0, []))
    if not header:
        raise ValueError(f"{path}: got an empty file, expected a table with a header")
    image_column = header.index(_IMAGE) if _IMAGE in header else None
    images_of = None if image_column is None else _Images(path, image_column, header)
    for number, (offset, record) in enumerate(records):
        if len(record) != len(header):
            raise ValueError(f"{path}: got {len(record)} cells in the row at byte {offset}, expected {len(header)}")
        fields = {name: text for name, text in zip(header, record, strict=True) if name != _IMAGE}
        images = None if images_of is None else images_of.of_record(offset, record)
        yield Entry(f"row {number}", fields, images=images)


class _Images:
    """The images of a table's rows, and which row has which."""

    def __init__(self, path: Path, column: int, header: list[str]) -> None:
        self._path, self._column = path, column
        self._index = header.index(_INDEX) if _INDEX in header else None
        self._found: dict[str, tuple[RawImage, ...]] = {}

    def of_record(self, offset: int, record: list[str]) -> tuple[RawImage, ...]:
        cell = record[self._column]
        if not cell:
            return ()
        if _is_name(cell):
            return (ImageFile(cell, self._path.parent),)
        if len(cell) > _POINTER_LENGTH:
            images = self._in_cell(offset, cell)
            if self._index is not None:
                self._found[record[self._index]] = images
            return images
        if cell not in self._found:
            self._found |= self._all()
        if cell not in self._found:
            index = "" if self._index is None else f" of row {record[self._index]}"
            raise ValueError(
                f"{self._path}: the image{index} points to row {cell}, which has none; expected an image in base64, a "
                f"path, or the `{_INDEX}` of the row that has it"
            )
        return self._found[cell]

    def _in_cell(self, offset: int, cell: str) -> tuple[RawImage, ...]:
        texts = enumerate(_image_texts(cell))
        return tuple(TableImage(self._path, offset, self._column, n, hash_of(text.encode())) for n, text in texts)

    def _all(self) -> dict[str, tuple[RawImage, ...]]:
        """Of every row that has images; for the file whose rows point forward."""
        if self._index is None:
            return {}
        records = _records(self._path)
        next(records)
        return {
            record[self._index]: self._in_cell(offset, record[self._column])
            for offset, record in records
            if len(record) > max(self._column, self._index) and len(record[self._column]) > _POINTER_LENGTH
        }


def _is_name(cell: str) -> bool:
    return _IMAGE_NAME.search(cell[-8:]) is not None


def _image_texts(cell: str) -> list[str]:
    return _LIST_ITEM.findall(cell) if cell[:1] == "[" else [cell]


def _records(path: Path, offset: int = 0) -> Iterator[tuple[int, list[str]]]:
    """Every record from a byte offset on, with its own offset; a record may span lines."""
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
            for record in csv.reader(lines(), dialect=DIALECTS[path.suffix.lower()]):
                if record:
                    yield start, record
                start = consumed
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path}: got {error} after byte {start}, expected a table of text in UTF-8") from None
