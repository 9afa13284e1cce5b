"""Append-only JSONL files that a killed process can go on with.

The first line is a header, {"identity": {...}}: all that decides what the rows mean. Each further line is one row. Rows
are never changed; where a row is repeated (a call that failed and was made again) the last one counts. A file whose
writer was killed may end in half a line: readers pass over it, the next writer cuts it off.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from verl_vaopd.disk import append

_HEADER = b'{"identity": '
_SURROGATE = re.compile(r"[\ud800-\udfff]")

Row = dict[str, Any]
Identity = Mapping[str, Any]


class Journal:
    """One such file, being written. As a context manager it keeps other writers out.

    Args:
        path: made with its directory if it is not there.
        identity: JSON values by name.
    Raises:
        ValueError: on entering, if another process writes the file, or its rows were made with another identity.
    """

    def __init__(self, path: Path, identity: Identity) -> None:
        self.path = path
        self.identity = dict(identity)

    def __enter__(self) -> Journal:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            self._begin()
        except BaseException:
            os.close(self._descriptor)
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._descriptor)

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows, all in one write: a process killed between two calls leaves whole groups of rows."""
        self._write("".join(encode(row) for row in rows))

    def _begin(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{self.path}: got a file that another process is writing, expected a free one; wait for it, or name "
                "another directory with out="
            ) from None
        whole = _whole_bytes(self.path)
        if whole or not _is_half_a_header(self.path):
            require_same(self.path, read_identity(self.path), self.identity)
        # Not before it is known to be ours.
        os.ftruncate(self._descriptor, whole)
        if not whole:
            self._write(encode({"identity": self.identity}))

    def _write(self, text: str) -> None:
        append(self._descriptor, text.encode(), self.path)


def read_identity(path: Path) -> dict[str, Any]:
    """The header's identity.

    Raises:
        ValueError: no file, or one that does not begin with a header.
    """
    if not path.is_file():
        raise ValueError(f"{path}: expected a file that `vaopd eval` wrote; run the evaluation first")
    try:
        header = next(_lines(path), None)
    except ValueError:
        header = None
    if not isinstance(header, dict) or not isinstance(header.get("identity"), dict):
        raise ValueError(f"{path}: got no header, expected a file that `vaopd eval` wrote; move it away")
    return header["identity"]


def stored_identity(path: Path) -> dict[str, Any] | None:
    """As read_identity; None where no writer got as far as that."""
    return read_identity(path) if path.is_file() and _whole_bytes(path) else None


def read_rows(path: Path) -> Iterator[Row]:
    """All whole rows, in order. Errors are those of read_identity, and a damaged line."""
    read_identity(path)
    lines = _lines(path)
    next(lines)
    return lines


def fingerprint(value: Any) -> str:
    """16 hexadecimal digits that stand for a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def encode(row: Mapping[str, Any]) -> str:
    """One line of JSON, its end included; of published values that JSON lacks dates as text, NaN as null."""
    try:
        line = json.dumps(row, ensure_ascii=False, allow_nan=False, default=str)
    except ValueError:
        return encode(without_nan(row))
    if not line.isascii() and _SURROGATE.search(line):  # half a character, which UTF-8 cannot hold
        line = json.dumps(row, allow_nan=False, default=str)
    return line + "\n"


def without_nan(value: Any) -> Any:
    """A JSON value with null for every number that JSON lacks: NaN, the infinities."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def require_same(path: Path, stored: Identity, now: Identity) -> None:
    """Check that rows of two identities may stand in one file.

    Raises:
        ValueError: naming every value that differs.
    """
    keys = [key for key in dict.fromkeys([*stored, *now]) if stored.get(key) != now.get(key)]
    if keys:
        raise ValueError(
            f"{path}: got rows made with other settings, expected the same ones; name another directory with out=, or "
            "remove the file\n" + "\n".join(f"  {key}: {stored.get(key)!r} there, {now.get(key)!r} now" for key in keys)
        )


def _is_half_a_header(path: Path) -> bool:
    """Whether a file without a whole line is empty, or what a killed writer leaves."""
    with path.open("rb") as file:
        begun = file.read(len(_HEADER))
    return _HEADER.startswith(begun)


def _whole_bytes(path: Path) -> int:
    """Length of the file up to the end of its last whole line."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - (1 << 16))
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0


def _lines(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}: line {number}: got {error}, expected JSON; restore the file") from None
            yield row
