"""Parquet files of rows with images: read row by row, in the memory of one page, and written in small pages.

A page as other programs write it may hold half a gigabyte of images, a row group several."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_BUFFER = 1 << 16  # bytes
_ROWS_PER_CHECK = 16
"""Rows after which the writer looks whether a page is full (1 MB); by default 1,024, whatever their size."""


def row_writer(path: Path, schema: Any) -> Any:
    """A pyarrow ParquetWriter, to be closed, of a file whose readers hold little: its pages are small."""
    import pyarrow.parquet as pq

    # Of images a dictionary would be the file once more.
    return pq.ParquetWriter(path, schema, write_batch_size=_ROWS_PER_CHECK, use_dictionary=False)


def open_parquet(path: Path) -> Any:
    """A pyarrow ParquetFile, to be closed. Raises pyarrow.ArrowException or OSError if there is none."""
    import pyarrow.parquet as pq

    # Without pre-buffering and with a buffer of its own, pyarrow holds a page and not all of the row group's.
    return pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER)


def single_rows(file: Any, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """Record batches of one row each.

    Held beside the row is one page of the file, as it is stored and as it was before compression. What held them goes
    back to the system at once, where pyarrow's pool would keep it.

    Args:
        file: from open_parquet.
        columns: those to read; None reads all.

    Raises:
        pyarrow.ArrowException, OSError: the file is damaged from here on.
    """
    import pyarrow

    pool = pyarrow.default_memory_pool()
    for group in range(file.num_row_groups):
        pool.release_unused()
        for batch in file.iter_batches(1, row_groups=[group], columns=columns, use_threads=False):
            pool.release_unused()
            yield batch
