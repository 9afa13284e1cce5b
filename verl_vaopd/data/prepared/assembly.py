"""From parts to the files of a prepared data set: which rows, in which order, and what the manifest says of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from verl_vaopd.data.prepared.candidate import schema_of
from verl_vaopd.data.prepared.parts import Dropped, Part
from verl_vaopd.data.prepared.published import Published
from verl_vaopd.files import sha256_of
from verl_vaopd.parquet import row_writer

NUM_VALIDATION = 200
"""Held-out problems on which checkpoints are selected (arXiv:2605.21924): drawn from Geometry3K's validation split."""
MAX_DROPPED_FRAC = 0.1
"""Of a split; more than that is no matter of single rows."""


def assemble(
    splits: Mapping[str, type[Published]], parts: Mapping[str, Sequence[Part]], seed: int, directory: Path
) -> dict[str, Any]:
    """Write the files of all splits; returns `splits`, `dropped` and `files` of the manifest (manifest.py)."""
    dropped = {split: _dropped(split, parts[split]) for split in splits}
    kept = {split: _write(directory, split, cls, parts[split], seed) for split, cls in splits.items()}
    return {
        "splits": {
            split: {
                "published": cls.published[split],
                "there": sum(len(part.ids) + len(part.dropped) for part in parts[split]),
                "kept": len(kept[split]),
                "not_drawn": len({name for part in parts[split] for name in part.ids}) - len(kept[split]),
                "dropped": dict(Counter(each.reason for each in dropped[split])),
                "ids": kept[split],
            }
            for split, cls in splits.items()
        },
        "dropped": [asdict(each) for of_split in dropped.values() for each in of_split],
        "files": {
            path.name: {"sha256": sha256_of(path), "rows": len(kept[path.stem]), "bytes": path.stat().st_size}
            for path in sorted(directory.glob("*.parquet"))
        },
    }


def require_few_dropped(splits: Mapping[str, Mapping[str, Any]], partial: bool) -> None:
    """Raise ValueError where a split lost more than MAX_DROPPED_FRAC of its problems, or with `partial` all of them.

    Args:
        splits: of the manifest.
    """
    for split, counts in splits.items():
        num_dropped = sum(counts["dropped"].values())
        if counts["kept"] and (partial or num_dropped <= MAX_DROPPED_FRAC * counts["there"]):
            continue
        reasons = ", ".join(f"{count} x {reason}" for reason, count in counts["dropped"].items())
        otherwise = ", or go on without them: --partial" if counts["kept"] else ""
        raise ValueError(
            f"{split}: got {num_dropped} problems of {counts['there']} that cannot be used ({reasons}); expected at "
            f"most {MAX_DROPPED_FRAC:.0%}; download the source again{otherwise}"
        )


def _dropped(split: str, parts: Sequence[Part]) -> list[Dropped]:
    """What cannot be used, and rows whose name an earlier one has."""
    names = Counter(name for part in parts for name in part.ids)
    twice = [Dropped(split, name, "id: not its own", name) for name, count in names.items() for _ in range(count - 1)]
    return [each for part in parts for each in part.dropped] + twice


def _drawn(split: str, names: Sequence[str], seed: int) -> set[str]:
    """All rows of a split; of validation NUM_VALIDATION, whose names' hashes with the seed are the smallest."""
    ranked = sorted(set(names), key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).hexdigest())
    return set(ranked[:NUM_VALIDATION] if split == "validation" else ranked)


def _write(directory: Path, split: str, cls: type[Published], parts: Sequence[Part], seed: int) -> list[str]:
    """Write the rows that are drawn, each name once; returns their names in order."""
    drawn = _drawn(split, [name for part in parts for name in part.ids], seed)
    written: dict[str, None] = {}
    with row_writer(directory / f"{split}.parquet", schema_of(cls.extra)) as writer:
        for part in parts:
            rows = []
            for number, name in enumerate(part.ids):
                if name in drawn and name not in written:
                    written[name] = None
                    rows.append(number)
            if rows:
                writer.write_table(part.rows().take(rows))
    return list(written)
