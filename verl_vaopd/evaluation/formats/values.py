"""Lists and structs in a cell: as such, or as the text of one, which tables hold."""

import ast
import json
from typing import Any

_UNREADABLE = (ValueError, SyntaxError, MemoryError, RecursionError)


def as_list(value: Any) -> list[Any]:
    """A list column: a list as such, the text of one read, anything else as its only item."""
    if isinstance(value, str) and value[:1] == "[" and value[-1:] == "]":
        read = _read(value)
        value = read if isinstance(read, list) else value
    return list(value) if isinstance(value, list | tuple) else [value]


def as_mapping(value: Any) -> dict[str, Any]:
    """A struct column: a dict as such, the text of one read; an empty one for anything else."""
    if isinstance(value, str) and value[:1] == "{":
        value = _read(value)
    return value if isinstance(value, dict) else {}


def _read(text: str) -> Any:
    """As Python writes it, or JSON; None if it is neither."""
    try:
        return ast.literal_eval(text)
    except _UNREADABLE:
        pass
    try:
        return json.loads(text)
    except _UNREADABLE:
        return None
