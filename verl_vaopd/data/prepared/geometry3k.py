"""Geometry3K (arXiv:2105.04165), as it is published twice: the hub's parquet files, and the original release's folders.

    hiyouga/geometry3k     data/{train,validation,test}-*.parquet: images, problem with its marks, answer
    the original release   {train,val,test}/ID/{data.json, img_diagram.png}: text, choices, the letter of the answer

Both say the same: the hub's problem is the original's annotated text (LaTeX), its answer the text of the right choice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from verl_vaopd.data.prepared.candidate import Candidate
from verl_vaopd.data.rows import IMAGE_MARK
from verl_vaopd.parquet import open_parquet, single_rows

_FOLDERS = {"train": "train", "validation": "val", "test": "test"}
_TEXTS = ("annotat_text", "problem_text")
"""Of the original's fields that hold the question, the first that is not empty."""


class Geometry3K:
    """The published problems below a directory.

    Args:
        root: of either layout; of the second one also without the folders of splits, which data.json names too.
    Raises:
        ValueError: there is neither.
    """

    data_source: ClassVar[str] = "geo3k"
    hub_id: ClassVar[str] = "hiyouga/geometry3k"
    patterns: ClassVar[tuple[str, ...]] = ("data/*.parquet",)
    licence: ClassVar[str] = "MIT, as the original release (lupantech/InterGPS) states it; figures are from textbooks"
    published: ClassVar[Mapping[str, int]] = {"train": 2101, "validation": 300, "test": 601}
    extra: ClassVar[Mapping[str, pa.DataType]] = {"choices": pa.list_(pa.string()), "letter": pa.string()}

    def __init__(self, root: Path) -> None:
        self.root = root
        self._parquet = {split: self._parquet_files(split) for split in self.published}
        self._problems = {} if any(self._parquet.values()) else self._folders()
        if not any(self._parquet.values()) and not any(self._problems.values()):
            raise ValueError(
                f"Geometry3K: got {root}, which has neither layout; expected data/train-*.parquet, as "
                f"{self.hub_id} has them, or train/ID/data.json, as the original release has them; name the directory "
                "above those"
            )

    def files(self, split: str) -> list[Path]:
        """All that is read for a split."""
        folders = self._problems.get(split, [])
        return self._parquet[split] or [folder / name for folder in folders for name in ("data.json", _IMAGE)]

    def num_rows(self, split: str) -> int:
        """Problems of a split."""
        if self._parquet[split]:
            return sum(pq.read_metadata(file).num_rows for file in self._parquet[split])
        return len(self._problems.get(split, []))

    def candidates(self, split: str) -> Iterator[Candidate]:
        """The problems of a split, in the order of the source. Raises ValueError for a file that is damaged."""
        if self._parquet[split]:
            number = 0
            for file in self._parquet[split]:
                for row in _rows(file):
                    yield _of_hub(row, split, number)
                    number += 1
        for folder in self._problems.get(split, []):
            yield _of_release(folder)

    def _parquet_files(self, split: str) -> list[Path]:
        return sorted([*self.root.glob(f"data/{split}*.parquet"), *self.root.glob(f"{split}*.parquet")])

    def _folders(self) -> dict[str, list[Path]]:
        split = {name: _numbered(self.root / folder) for name, folder in _FOLDERS.items()}
        if any(split.values()):
            return split
        names = {folder: name for name, folder in _FOLDERS.items()}
        for problem in _numbered(self.root):
            split[names[_read(problem)["data_type"]]].append(problem)
        return split


_IMAGE = "img_diagram.png"


def _numbered(directory: Path) -> list[Path]:
    """Folders of problems, by their number."""
    folders = [path.parent for path in directory.glob("*/data.json")]
    return sorted(folders, key=lambda folder: (len(folder.name), folder.name))


def _read(folder: Path) -> dict[str, Any]:
    """The data.json of a problem. Raises ValueError if it is not one."""
    needed = ("id", "choices", "answer", "data_type")
    try:
        problem = json.loads((folder / "data.json").read_text(encoding="utf-8"))
        missing = [name for name in needed if name not in problem]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{folder / 'data.json'}: got {error}, expected JSON; download it again") from None
    if missing:
        raise ValueError(f"{folder / 'data.json'}: got no {', '.join(missing)}; expected a problem of Geometry3K")
    return problem


def _of_release(folder: Path) -> Candidate:
    problem = _read(folder)
    choices, letter = [str(choice) for choice in problem["choices"]], str(problem["answer"])
    number = "ABCDEFGHIJ".find(letter) if len(letter) == 1 else -1
    text = next((problem[name] for name in _TEXTS if str(problem.get(name) or "").strip()), "")
    return Candidate(
        id=str(problem["id"]),
        question=f"{IMAGE_MARK}{text}",
        answer=choices[number] if 0 <= number < len(choices) else None,
        images=(folder / _IMAGE,),
        extra={"choices": choices, "letter": letter},
    )


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    with open_parquet(file) as opened:
        names = opened.schema_arrow.names
        missing = [name for name in ("images", "problem", "answer") if name not in names]
        if missing:
            raise ValueError(f"{file}: got no column {', '.join(missing)}; expected images, problem, answer")
        try:
            for batch in single_rows(opened):
                yield from batch.to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{file}: got {error}, expected a whole parquet file; download it again") from None


def _of_hub(row: Mapping[str, Any], split: str, number: int) -> Candidate:
    images = row["images"] if isinstance(row["images"], list) else [row["images"]]
    letter, choices = row.get("ground_truth"), row.get("choices")
    answer = row["answer"]
    return Candidate(
        id=str(row["id"]) if row.get("id") is not None else f"{split}-{number}",
        question=str(row["problem"]),
        answer=None if answer is None else str(answer),
        images=tuple(image["bytes"] if isinstance(image, Mapping) else image for image in images),
        extra={
            "choices": None if choices is None else [str(choice) for choice in choices],
            "letter": None if letter is None else str(letter),
        },
    )
