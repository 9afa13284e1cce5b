"""ViRL39K (arXiv:2504.08837): 38,870 problems of many kinds, with none, one or several images each.

    TIGER-Lab/ViRL39K   39Krelease.parquet: question, answer in a box, category, source, qid, image (a list of paths),
                        two pass rates; images.zip with the files of those paths, unpacked or not

About one question in fifty has lost its marks of images, as others report (not measured here): the images of such a row
stand before its text, and the rows are counted. A row with some marks, but not one for each image, is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from verl_vaopd.answers.rewards import boxes
from verl_vaopd.data.prepared.candidate import Candidate, ImagePlace, InArchive
from verl_vaopd.data.rows import IMAGE_MARK

_TABLE, _ARCHIVE = "39Krelease.parquet", "images.zip"
_RATES = ("PassRate_32BTrained", "PassRate_7BBase")
_TEXTS = ("category", "source")
_COLUMNS = ("qid", "question", "answer", "image", *_TEXTS, *_RATES)


class ViRL39K:
    """The published problems below a directory.

    Args:
        root: with the table, and images.zip or what was unpacked from it.
    Raises:
        ValueError: one of them is missing.
    """

    data_source: ClassVar[str] = "virl39k"
    hub_id: ClassVar[str] = "TIGER-Lab/ViRL39K"
    patterns: ClassVar[tuple[str, ...]] = (_TABLE, _ARCHIVE)
    licence: ClassVar[str] = "MIT, as its page on the hub states it; its problems are from other data sets"
    published: ClassVar[Mapping[str, int]] = {"train": 38_870}
    extra: ClassVar[Mapping[str, pa.DataType]] = {
        **dict.fromkeys(_TEXTS, pa.string()),
        **dict.fromkeys(_RATES, pa.float64()),
        "marks_added": pa.bool_(),
    }

    def __init__(self, root: Path) -> None:
        self._table, self._root = root / _TABLE, root
        self._archive = root / _ARCHIVE if (root / _ARCHIVE).is_file() else None
        if not self._table.is_file() or (self._archive is None and not (root / "images").is_dir()):
            raise ValueError(
                f"ViRL39K: got {root}, expected {_TABLE} and {_ARCHIVE} (or its folder images/) in it, as "
                f"{self.hub_id} has them; name the directory that has both"
            )
        missing = [name for name in _COLUMNS if name not in pq.read_schema(self._table).names]
        if missing:
            raise ValueError(f"{self._table}: got no column {', '.join(missing)}; expected {', '.join(_COLUMNS)}")

    def files(self, split: str) -> list[Path]:
        """All that is read for a split; of unpacked images, those that the table names."""
        if self._archive is not None:
            return [self._table, self._archive]
        paths = {path for row in self._rows(["image"]) for path in _paths(row)}
        return [self._table, *sorted(self._root / path for path in paths if (self._root / path).is_file())]

    def num_rows(self, split: str) -> int:
        """Problems of a split."""
        return pq.read_metadata(self._table).num_rows

    def candidates(self, split: str) -> Iterator[Candidate]:
        """The problems, in the order of the table."""
        for row in self._rows(list(_COLUMNS)):
            paths, question = _paths(row), row["question"] or ""
            lost = bool(paths) and IMAGE_MARK not in question
            inside = boxes(row["answer"] or "")
            yield Candidate(
                id=str(row["qid"]),
                question=IMAGE_MARK * len(paths) * lost + question,
                answer=inside[0].strip() if len(inside) == 1 else None,
                images=tuple(self._place(path) for path in paths),
                extra={name: row[name] for name in (*_TEXTS, *_RATES)} | {"marks_added": lost},
            )

    def _place(self, path: str) -> ImagePlace:
        unpacked = self._root / path
        return InArchive(self._archive, path) if self._archive is not None else unpacked

    def _rows(self, columns: list[str]) -> Iterator[dict[str, Any]]:
        with pq.ParquetFile(self._table) as table:
            try:
                for batch in table.iter_batches(batch_size=1024, columns=columns):
                    yield from batch.to_pylist()
            except (pa.ArrowException, OSError) as error:
                raise ValueError(f"{self._table}: got {error}, expected a whole file; download it again") from None


def _paths(row: Mapping[str, Any]) -> list[str]:
    image = row["image"]
    return [] if image is None else [image] if isinstance(image, str) else list(image)
