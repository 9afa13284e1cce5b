"""Rows that leak are taken out of train.parquet, whole or not at all, and the manifest says which and why."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from verl_vaopd.data.leaks.report import LIMITS, Comparison
from verl_vaopd.files import MANIFEST, require_replaceable, sha256_of, whole_directory, write_text
from verl_vaopd.parquet import open_parquet, single_rows

TRAIN = "train.parquet"
RECORDS = "dropped_leaks"
"""In the manifest: what every call of drop has taken out."""
_GROUP_BYTES = 64 << 20


def require_droppable(directory: Path) -> None:
    """Raise ValueError unless this program has written a directory, and nobody has changed it since."""
    try:
        if not (directory / MANIFEST).is_file():
            raise ValueError(f"{directory}: got no {MANIFEST}")
        require_replaceable(directory)
    except ValueError as error:
        raise ValueError(
            f"--drop: {error}. Rows are dropped from directories as `vaopd prepare` has written them; from others take "
            "them out yourself, --json FILE lists them"
        ) from None
    if TRAIN not in _manifest(directory)["files"]:
        raise ValueError(f"--drop: {directory}: got a {MANIFEST} without {TRAIN}, from which rows are dropped")


def drop(directory: Path, comparisons: Sequence[Comparison], digests: Mapping[str, str]) -> int:
    """Take the rows of train.parquet that leak out of it; the directory is written anew, as a whole.

    Args:
        directory: that require_droppable accepts.
        comparisons: leaks of any left collection; those of TRAIN's name without its ending are dropped.
        digests: {name of a collection: sha256 of its file}, for the manifest.
    Returns: how many rows were dropped; with 0 nothing is written.
    Raises:
        ValueError: no row would remain, and as require_droppable.
    """
    require_droppable(directory)
    name = Path(TRAIN).stem
    leaks = [comparison for comparison in comparisons if comparison.is_leak and comparison.left.name == name]
    numbers = {match.row for comparison in leaks for match in comparison.matches}
    if not numbers:
        return 0
    num_rows = len(leaks[0].left.rows)
    if len(numbers) == num_rows:
        raise ValueError(f"--drop: all {num_rows} rows of {TRAIN} leak; expected some that do not: look at the files")
    manifest = _manifest(directory)
    with whole_directory(directory) as written:
        for file in manifest["files"]:
            if file != TRAIN:
                _link(directory / file, written / file)
        _copy_without(directory / TRAIN, written / TRAIN, numbers)
        manifest["files"][TRAIN]["sha256"] = sha256_of(written / TRAIN)
        record = {
            "file": TRAIN,
            "rows_before": num_rows,
            "rows_after": num_rows - len(numbers),
            "sha256_before": digests[name],
            "against": {comparison.right.name: digests[comparison.right.name] for comparison in leaks},
            "limits": LIMITS,
            "rows": [comparison.record(match) for comparison in leaks for match in comparison.matches],
        }
        manifest.setdefault(RECORDS, []).append(record)
        write_text(written / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    return len(numbers)


def _manifest(directory: Path) -> dict[str, Any]:
    return dict(json.loads((directory / MANIFEST).read_text(encoding="utf-8")))


def _link(old: Path, new: Path) -> None:
    """The same content under another name, without a copy where the file system can."""
    new.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(old, new)
    except OSError:
        shutil.copyfile(old, new)


def _copy_without(old: Path, new: Path, numbers: Collection[int]) -> None:
    """A parquet file without some of its rows, with its schema and compression, in the memory of a row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_parquet(old) as opened:
        compression = opened.metadata.row_group(0).column(0).compression
        codec = "none" if compression == "UNCOMPRESSED" else compression.lower()
        with pq.ParquetWriter(new, opened.schema_arrow, compression=codec) as writer:
            kept = (row for number, row in enumerate(single_rows(opened)) if number not in numbers)
            for rows in _groups(kept):
                writer.write_table(pa.Table.from_batches(rows, opened.schema_arrow))


def _groups(rows: Iterator[Any]) -> Iterator[list[Any]]:
    group: list[Any] = []
    size = 0
    for row in rows:
        group.append(row)
        size += row.nbytes
        if size >= _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
