"""Files and directories that are written whole or not at all: under a temporary name beside the final one, flushed to
disk, then renamed. A process that is killed leaves the old content, or none."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """The path to write to; what is there at the end takes the place of `path`. An error leaves `path` as it was."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """The directory to write to, empty and beside `path`; at the end it takes the place of `path` and all in it.

    An error leaves `path` as it was. Of two writers the later one wins.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        temporary.chmod(0o755)
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_yaml(path: Path) -> Any:
    """A table that stands beside the code that uses it."""
    import yaml  # type: ignore[import-untyped]

    return yaml.safe_load(path.read_text(encoding="utf-8"))


def write_text(path: Path, text: str) -> None:
    """A text file in UTF-8."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_parquet(path: Path, table: pa.Table, **options: Any) -> None:
    """A parquet file; options are those of pyarrow.parquet.write_table."""
    import pyarrow.parquet as pq

    with whole_file(path) as temporary:
        pq.write_table(table, temporary, **options)


def write_png(path: Path, figure: Any) -> None:
    """A matplotlib figure as PNG."""
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def flush(path: Path) -> None:
    """Have a file, or the names in a directory, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
