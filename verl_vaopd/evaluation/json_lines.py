"""JSON Lines that a user gives: one object per line, with errors that name the line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any


def numbered_objects(lines: Iterable[bytes], source: object = "") -> Iterator[tuple[int, dict[str, Any]]]:
    """Every object with the number of its line, from 1; empty lines are passed over.

    Args:
        lines: a file opened for reading bytes.
        source: what an error names before the line, such as the file's path.
    Raises:
        ValueError: a line that is no JSON object in UTF-8.
    """
    prefix = f"{source}: " if source else ""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{prefix}line {number}: got {error}, expected one JSON object") from None
        if not isinstance(row, dict):
            raise ValueError(f"{prefix}line {number}: got a {type(row).__name__}, expected a JSON object")
        yield number, row
