"""A row of a published file, with where it stands."""

from dataclasses import dataclass
from typing import Any

from verl_vaopd.evaluation.formats.images import RawImage


@dataclass(frozen=True)
class Entry:
    """One row."""

    place: str
    """For errors: "line 3", "row 0", "row '17'"."""
    fields: dict[str, Any]
    """The columns, without those that hold images themselves. Columns with paths of images are kept."""
    key: str | None = None
    """What the row stands under in a JSON object of rows."""
    images: tuple[RawImage, ...] | None = None
    """Those that came with the row, in the order of their columns; None: the file has no column that holds images."""
