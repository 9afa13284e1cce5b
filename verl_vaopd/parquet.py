"""Parquet files row by row, in the memory of one page: a page of images is half a gigabyte, a row group several."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_BUFFER = 1 << 16  # bytes


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
