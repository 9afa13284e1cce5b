"""Rows that leak are taken out of train.parquet, whole or not at all, and the manifest says which and why."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from verl_vaopd.data.leaks.report import LIMITS, Comparison
from verl_vaopd.data.prepared.manifest import read
from verl_vaopd.data.prepared.parts import Dropped
from verl_vaopd.files import MANIFEST, require_replaceable, sha256_of, whole_directory, write_text
from verl_vaopd.parquet import open_parquet, row_writer, single_rows

SPLIT = "train"
TRAIN = f"{SPLIT}.parquet"
RECORDS = "dropped_leaks"
"""In the manifest: of every call of drop, which rows were taken out and what they match where."""
_GROUP_BYTES = 64 << 20


def require_droppable(directory: Path) -> None:
    """Raise ValueError unless `vaopd prepare` has written a directory, and nobody has changed it since."""
    try:
        if TRAIN not in (read(directory) or {"files": {}})["files"]:
            raise ValueError(f"{directory}: got no {MANIFEST} of `vaopd prepare` with {TRAIN} in it")
        require_replaceable(directory)
    except ValueError as error:
        raise ValueError(
            f"--drop: {error}. Rows are dropped from directories as `vaopd prepare` has written them; from others take "
            "them out yourself: --json FILE lists them"
        ) from None


def drop(directory: Path, comparisons: Sequence[Comparison], digests: Mapping[str, str]) -> int:
    """Take the rows of train.parquet that leak out of it; the directory is written anew, as a whole.

    Args:
        directory: that require_droppable accepts.
        comparisons: those of train with others are dropped by.
        digests: {name of a collection: sha256 of its file}, for the manifest.
    Returns: how many rows were dropped; with 0 nothing is written.
    Raises:
        ValueError: no row would remain, and as require_droppable.
    """
    require_droppable(directory)
    leaks = [comparison for comparison in comparisons if comparison.is_leak and comparison.left.name == SPLIT]
    # One reason each, for the counts: what it was found in first.
    reasons = {match.row: comparison.right.name for comparison in leaks[::-1] for match in comparison.matches}
    if not reasons:
        return 0
    num_rows = len(leaks[0].left.rows)
    if len(reasons) == num_rows:
        raise ValueError(f"--drop: all {num_rows} rows of {TRAIN} leak; expected some that do not: look at the files")
    manifest = read(directory)
    assert manifest is not None
    with whole_directory(directory) as written:
        for file in manifest["files"]:
            if file != TRAIN:
                _link(directory / file, written / file)
        _copy_without(directory / TRAIN, written / TRAIN, reasons)
        path = written / TRAIN
        manifest["files"][TRAIN] |= {
            "sha256": sha256_of(path),
            "rows": num_rows - len(reasons),
            "bytes": path.stat().st_size,
        }
        _take_out(manifest, reasons)
        record = {
            "file": TRAIN,
            "sha256_before": digests[SPLIT],
            "against": {comparison.right.name: digests[comparison.right.name] for comparison in leaks},
            "limits": LIMITS,
            "rows": [comparison.record(match) for comparison in leaks for match in comparison.matches],
        }
        manifest.setdefault(RECORDS, []).append(record)
        write_text(written / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    return len(reasons)


def _take_out(manifest: dict[str, Any], reasons: Mapping[int, str]) -> None:
    """Rows are no longer among what the manifest says was kept, but among what was dropped."""
    split = manifest["splits"][SPLIT]
    ids: list[str] = split["ids"]
    told = {row: f"leak: it is in {reason} too" for row, reason in sorted(reasons.items())}
    split["dropped"] = dict(Counter(split["dropped"]) + Counter(told.values()))
    dropped = [Dropped(SPLIT, ids[row], reason, f"row {row}") for row, reason in told.items()]
    manifest["dropped"] += [asdict(each) for each in dropped]
    split["ids"] = [name for row, name in enumerate(ids) if row not in told]
    split["kept"] = len(split["ids"])


def _link(old: Path, new: Path) -> None:
    """The same content under another name, without a copy where the file system can."""
    new.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(old, new)
    except OSError:
        shutil.copyfile(old, new)


def _copy_without(old: Path, new: Path, numbers: Collection[int]) -> None:
    """A parquet file without some of its rows, in the memory of a row group."""
    import pyarrow as pa

    with open_parquet(old) as opened, row_writer(new, opened.schema_arrow) as writer:
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
