"""Excel's .xlsx, in which VLMEvalKit stores questions with predictions; it holds no images.

The first sheet counts, its first row is the header. Every cell becomes a text, as in a TSV: 14 becomes "14", an empty
cell "". A cell that begins with "=" is the text that was written, not a formula's value.
"""

import datetime
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from verl_vaopd.evaluation.formats.entry import Entry

_DAMAGES = (BadZipFile, zlib.error, OSError, EOFError, KeyError, ValueError, SyntaxError, NotImplementedError)
"""What openpyxl, zipfile and the XML parser raise for files that are none, or damaged."""


def read_spreadsheet(path: Path) -> Iterator[Entry]:
    """The rows of a spreadsheet.

    Raises:
        ValueError: no .xlsx, no header, or a date, into which Excel turns texts like "1/2".
    """
    records = _records(path)
    # pandas writes its index into a column without a name.
    header = {column: str(name) for column, name in enumerate(next(records, ())) if name is not None}
    if not header:
        raise ValueError(f"{path}: got an empty sheet, expected a table with a header")
    for number, record in enumerate(records):
        if any(value is not None for value in record):
            cells = {name: record[column] if column < len(record) else None for column, name in header.items()}
            yield Entry(f"row {number}", {name: _text(path, number, name, cell) for name, cell in cells.items()})


def _records(path: Path) -> Iterator[tuple[Any, ...]]:
    from openpyxl import load_workbook  # type: ignore[import-untyped]

    try:
        book = load_workbook(path, read_only=True)
        try:
            yield from book.worksheets[0].iter_rows(values_only=True)
        finally:
            book.close()
    except _DAMAGES as error:
        raise ValueError(
            f"{path}: got {str(error) or type(error).__name__}, expected an .xlsx file; store it again as one"
        ) from None


def _text(path: Path, number: int, name: str, cell: Any) -> str:
    if isinstance(cell, datetime.date | datetime.time | datetime.timedelta):
        raise ValueError(
            f"{path}: row {number}: {name}: got a date or time, {cell}, expected a text or number; Excel makes dates "
            "of texts such as 1/2: correct the cell, and format it as text"
        )
    return "" if cell is None else str(cell)
