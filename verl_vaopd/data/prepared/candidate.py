"""A problem of a published data set on its way to a row of ours: checked by the reader that training uses.

Imports neither torch nor verl.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from verl_vaopd.data.rows import RowError, Verbatim, read_row


@dataclass(frozen=True)
class InArchive:
    """An image file in a zip archive."""

    archive: Path
    name: str

    def read(self) -> bytes:
        """Raises KeyError if there is none."""
        return _opened(self.archive).read(self.name)


ImagePlace = bytes | Path | InArchive
"""Where an image file's bytes are."""


@dataclass(frozen=True)
class Candidate:
    """One published problem.

    Attributes:
        id: the publisher's, its own in the split.
        question: with a mark where each image stands (rows.IMAGE_MARK).
        answer: the right answer; None where none was published that can be read.
        extra: what else is kept of the published row, by column.
    """

    id: str
    question: str
    answer: str | None
    images: tuple[ImagePlace, ...]
    extra: Mapping[str, Any]


def schema_of(extra: Mapping[str, pa.DataType]) -> pa.Schema:
    """Columns of a prepared file.

    Args:
        extra: types of Candidate.extra, which go into extra_info.
    """
    return pa.schema(
        {
            "prompt": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
            "images": pa.list_(pa.struct({"bytes": pa.binary()})),
            "data_source": pa.string(),
            "reward_model": pa.struct({"style": pa.string(), "ground_truth": pa.string()}),
            "extra_info": pa.struct({"index": pa.string(), **extra}),
        }
    )


def as_row(candidate: Candidate, data_source: str) -> dict[str, Any]:
    """The row of a candidate, which training can read and score.

    Raises:
        RowError: for one that it cannot.
    """
    if candidate.answer is None:
        raise RowError("answer", "not one balanced box", None, "\\boxed{...} around the answer", "leave the row out")
    row = {
        "prompt": [{"role": "user", "content": candidate.question}],
        "images": [{"bytes": _read(place, image)} for place, image in enumerate(candidate.images)],
        "data_source": data_source,
        "reward_model": {"style": "rule", "ground_truth": candidate.answer},
        "extra_info": {"index": candidate.id, **candidate.extra},
    }
    read_row(row, 0, Path(), "").require_images()
    return row


def _read(place: int, image: ImagePlace) -> bytes:
    if isinstance(image, bytes):
        return image
    try:
        return image.read_bytes() if isinstance(image, Path) else image.read()
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        expected, fix = "an image file of the source", "download the source again"
        raise RowError(f"images[{place}]", "cannot be read", Verbatim(error), expected, fix) from None


@cache
def _opened(archive: Path) -> zipfile.ZipFile:
    """Once in a process: the directory of an archive has an entry for every image."""
    return zipfile.ZipFile(archive)
