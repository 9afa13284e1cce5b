"""Parquet, as the Hugging Face hub has it: images as structs of bytes and path, as bare bytes, or lists of either.

Read row by row; what is held beside the row is one page of the file as it is stored and as it was before compression,
and many writers put a row group's images into one page.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from verl_vaopd.evaluation.formats.entry import Entry
from verl_vaopd.evaluation.formats.images import ImageBytes, ImageFile, RawImage

_BUFFER = 1 << 16
_EMPTY = {"bytes": None, "path": None}


def read_parquet(path: Path) -> Iterator[Entry]:
    """The rows of a file. Raises ValueError if it is no parquet file, or damaged."""
    import pyarrow
    import pyarrow.parquet as pq

    try:
        # Without pre-buffering and with a buffer of its own, pyarrow holds a page and not all of the row group's.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER) as file:
            columns = [column.name for column in file.schema_arrow if _holds_images(column.type)]
            for number, row in enumerate(_dicts(file)):
                cells = [row.pop(name) for name in columns]
                items = [item for cell in cells for item in (cell if isinstance(cell, list) else [cell])]
                images = tuple(_image(path, item) for item in items if item is not None and item != _EMPTY)
                yield Entry(f"row {number}", row, images=images if columns else None)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{path}: got {error}, expected a parquet file; download it again") from None


def _dicts(file: Any) -> Iterator[dict[str, Any]]:
    """Rows of a ParquetFile. A page of images is half a gigabyte: what held its compressed bytes, and then the page,
    goes back to the system at once, where pyarrow's pool would keep it."""
    import pyarrow

    pool = pyarrow.default_memory_pool()
    for group in range(file.num_row_groups):
        pool.release_unused()
        for batch in file.iter_batches(batch_size=1, row_groups=[group]):
            pool.release_unused()
            yield from batch.to_pylist()


def _holds_images(column_type: Any) -> bool:
    """Whether a column holds images or lists of them: structs of bytes and path, or bare bytes (as MMStar's)."""
    import pyarrow.types as types

    if types.is_list(column_type) or types.is_large_list(column_type):
        column_type = column_type.value_type
    if types.is_struct(column_type):
        return {"bytes", "path"} <= {child.name for child in column_type}
    return types.is_binary(column_type) or types.is_large_binary(column_type)


def _image(path: Path, item: dict[str, Any] | bytes) -> RawImage:
    if isinstance(item, bytes):
        return ImageBytes(item)
    return ImageBytes(item["bytes"]) if item["bytes"] is not None else ImageFile(item["path"], path.parent)
