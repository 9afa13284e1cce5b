"""JSON that holds rows: one object per line, a list of objects, or an object of objects by their ids.

Told apart by what is there, not by the file's name. One object per line is read as a stream; the others are read whole.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any

from verl_vaopd.evaluation.formats.entry import Entry

_BOM = b"\xef\xbb\xbf"


def read_json(lines: Iterable[bytes], source: object = "") -> Iterator[Entry]:
    """Every object, with its place; empty lines are passed over.

    Args:
        lines: a file opened for reading bytes.
        source: what an error names before the place, such as the file's path.
    Raises:
        ValueError: what is no JSON in UTF-8, or no object where a row should be.
    """
    prefix = f"{source}: " if source else ""
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip().removeprefix(_BOM))
    start = list(itertools.islice(numbered, 2))
    if not start:
        return
    if _is_whole(start):
        text = b"".join([*(line for _, line in start), *(line for _, line in numbered)])
        yield from _document(text, prefix)
        return
    for number, line in itertools.chain(start, numbered):
        row = _parsed(line, f"{prefix}line {number}", "one JSON object")
        yield Entry(f"line {number}", _object(row, f"{prefix}line {number}"))


def _is_whole(start: list[tuple[int, bytes]]) -> bool:
    """Whether the first two lines begin one document, and are no rows."""
    (_, first), *second = start
    values = [_value(line) for line in (first, *(line for _, line in second))]
    if values[0] is None:  # broken, or the beginning of a document on several lines
        is_list = first.removeprefix(_BOM).lstrip().startswith(b"[")
        return is_list or (len(values) > 1 and not isinstance(values[1], dict))
    return len(values) == 1 and (isinstance(values[0], list) or _is_keyed(values[0]))


def _document(text: bytes, prefix: str) -> Iterator[Entry]:
    expected = "one JSON object per line, a list of them, or an object of objects by their ids"
    content = _parsed(text, f"{prefix}JSON", expected, object_pairs_hook=_each_once)
    if isinstance(content, list):
        for number, row in enumerate(content):
            yield Entry(f"row {number}", _object(row, f"{prefix}row {number}"))
    elif _is_keyed(content):
        for key, row in content.items():
            yield Entry(f"row {key!r}", row, key)
    else:
        yield Entry("row 0", _object(content, f"{prefix}row 0"))


def _is_keyed(value: Any) -> bool:
    """No row has nothing but objects in it."""
    return isinstance(value, dict) and bool(value) and all(isinstance(row, dict) for row in value.values())


def _value(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; ValueError for one with a key twice, of which JSON would keep the last."""
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"the key {key!r} twice")
        content[key] = value
    return content


def _parsed(text: bytes, place: str, expected: str, **options: Any) -> Any:
    try:
        return json.loads(text, **options)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}: got {error}, expected {expected}") from None


def _object(row: Any, place: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise ValueError(f"{place}: got a {type(row).__name__}, expected a JSON object")
    return row
