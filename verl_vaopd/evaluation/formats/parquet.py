"""Parquet, as the Hugging Face hub has it: images as structs of bytes and path, as bare bytes, or lists of either."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from verl_vaopd.evaluation.formats.entry import Entry
from verl_vaopd.evaluation.formats.images import ImageBytes, ImageFile, RawImage
from verl_vaopd.parquet import open_parquet, single_rows

_EMPTY = {"bytes": None, "path": None}


def read_parquet(path: Path) -> Iterator[Entry]:
    """The rows of a file. Raises ValueError if it is no parquet file, or damaged."""
    import pyarrow

    try:
        with open_parquet(path) as file:
            columns = [column.name for column in file.schema_arrow if _holds_images(column.type)]
            for number, batch in enumerate(single_rows(file)):
                (row,) = batch.to_pylist()
                cells = [row.pop(name) for name in columns]
                items = [item for cell in cells for item in (cell if isinstance(cell, list) else [cell])]
                images = tuple(_image(path, item) for item in items if item is not None and item != _EMPTY)
                yield Entry(f"row {number}", row, images=images if columns else None)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{path}: got {error}, expected a parquet file; download it again") from None


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
