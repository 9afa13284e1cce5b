"""Responses to the training prompts, verified and stored: what `vaopd collect` writes and training replays.

A directory:

    manifest.json         what the responses depend on (stored_settings.py), where they come from, how many prompts
    part-00000.parquet    the first collect.prompts_per_part prompts of the training file, in its order; and so on

Every file is written whole, renamed into place and never changed: a collection that is killed loses at most the part in
progress. A prompt of which nothing was kept has a row too. Imports neither torch nor verl.
"""

from __future__ import annotations

import fcntl
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from omegaconf import DictConfig

from verl_vaopd.data.stored_settings import WRITING_SETTINGS, made_with, require_same
from verl_vaopd.files import MANIFEST, content, listing_of, write_parquet, write_text

FORMAT_VERSION = 1
_LOCK = ".lock"
_COUNTS = ("num_sampled", "num_correct", "num_malformed", "num_truncated", "num_duplicates")
SCHEMA = pa.schema(
    [
        pa.field("index", pa.string(), nullable=False),
        pa.field("responses", pa.list_(pa.list_(pa.int64())), nullable=False),
        pa.field("texts", pa.list_(pa.string()), nullable=False),
        *(pa.field(name, pa.int64(), nullable=False) for name in _COUNTS),
        pa.field("pass_rate", pa.float64(), nullable=False),
    ]
)


@dataclass(frozen=True)
class StoredPrompt:
    """One training prompt: what was kept of its samples, and what became of the others.

    Every sample is counted once: truncated, else malformed, else wrong, else correct. Of the correct ones some repeat
    an earlier one (duplicates), and of the different ones at most collect.keep are kept.
    """

    index: str
    """`extra_info.index` of the training file, the trainer's question id."""
    responses: list[list[int]]
    """Token ids of the kept responses, the final end token included, in the order they were sampled."""
    texts: list[str]
    """The kept responses without special tokens."""
    num_sampled: int
    num_correct: int
    num_malformed: int
    num_truncated: int
    num_duplicates: int
    pass_rate: float
    """num_correct / num_sampled."""


class Collection:
    """A directory of stored responses that is being written. As a context manager, it keeps a second writer out.

    Args:
        directory: made if it is not there.
        settings: stored_settings.made_with.
        num_prompts: rows of the training file.
        provenance: JSON values worth keeping; those of the first writer stay.
    Raises:
        ValueError: on entering, if the directory is being written, or was made with other settings.
    """

    def __init__(
        self, directory: Path, settings: Mapping[str, Any], num_prompts: int, provenance: Mapping[str, Any]
    ) -> None:
        self.directory = directory
        self._manifest: dict[str, Any] = {
            "format": FORMAT_VERSION,
            "num_prompts": num_prompts,
            "made_with": dict(settings),
            "provenance": dict(provenance),
        }
        self._part_size: int = settings["collect.prompts_per_part"]

    def __enter__(self) -> Collection:
        require_collection(self.directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock = (self.directory / _LOCK).open("a")
        try:
            self._begin()
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.close()

    def missing(self) -> list[range]:
        """The rows of the training file that are still to be collected, part by part, in order."""
        num_prompts = self._manifest["num_prompts"]
        starts = range(len(_parts(self.directory)) * self._part_size, num_prompts, self._part_size)
        return [range(start, min(start + self._part_size, num_prompts)) for start in starts]

    def append(self, rows: Sequence[StoredPrompt]) -> None:
        """Write the next part."""
        path = self.directory / f"part-{len(_parts(self.directory)):05d}.parquet"
        write_parquet(path, pa.Table.from_pylist([asdict(row) for row in rows], schema=SCHEMA))

    def _begin(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"collect.path: got {self.directory}, which another process is writing; expected a free directory; "
                "wait for it, or name another one"
            ) from None
        if (self.directory / MANIFEST).is_file():
            require_same(self.directory, _read_manifest(self.directory)["made_with"], self._manifest["made_with"])
        else:
            write_text(self.directory / MANIFEST, json.dumps(self._manifest, indent=2) + "\n")


class StoredResponses:
    """A finished collection, read whole except for its texts.

    Raises:
        ValueError: if there is none at `path`, or an unfinished one.
    """

    def __init__(self, path: str | Path) -> None:
        self.directory = Path(path).expanduser()
        self._manifest = _read_manifest(self.directory)
        columns = [name for name in SCHEMA.names if name != "texts"]
        parts = [pq.read_table(part, columns=columns) for part in _parts(self.directory)]
        self._table = pa.concat_tables(parts) if parts else SCHEMA.empty_table().select(columns)
        self._rows = {index: row for row, index in enumerate(self._table["index"].to_pylist())}
        self._num_responses = pc.list_value_length(self._table["responses"]).to_pylist()
        if len(self._rows) != self._manifest["num_prompts"]:
            raise ValueError(
                f"collect.path: got {self.directory}, which holds {len(self._rows)} prompts; expected all "
                f"{self._manifest['num_prompts']} of the training file; run `vaopd collect` again to finish it"
            )

    def __len__(self) -> int:
        """Prompts, those without a response included."""
        return len(self._rows)

    def responses(self, index: str) -> list[list[int]]:
        """Token ids of all responses to a prompt, each with its final end token.

        Raises:
            ValueError: if the prompt is not in the collection.
        """
        return self._table["responses"][self._row(index)].as_py()

    def num_responses(self, index: str) -> int:
        """How many responses to a prompt there are. Raises as `responses`."""
        return self._num_responses[self._row(index)]

    def max_length(self) -> int:
        """Tokens of the longest response; 0 if there is none."""
        lengths = pc.list_value_length(pc.list_flatten(self._table["responses"]))
        return pc.max(lengths).as_py() or 0

    def require_made_with(self, cfg: DictConfig) -> None:
        """Check that the responses are the ones that this configuration means; its seed may be another one.

        Raises:
            ValueError: naming every setting that differs.
        """
        require_same(self.directory, self._manifest["made_with"], made_with(cfg), but=WRITING_SETTINGS)

    def summary(self) -> dict[str, int | float]:
        """Totals over all prompts; `num_wrong` and `num_surplus` (beyond collect.keep) make up what is left."""
        total = {name: pc.sum(self._table[name]).as_py() or 0 for name in _COUNTS}
        num_kept = sum(self._num_responses)
        return {
            "num_prompts": len(self),
            "num_prompts_without": self._num_responses.count(0),
            "num_kept": num_kept,
            **total,
            "num_wrong": total["num_sampled"]
            - sum(total[name] for name in ("num_correct", "num_malformed", "num_truncated")),
            "num_surplus": total["num_correct"] - total["num_duplicates"] - num_kept,
            "pass_rate": total["num_correct"] / max(total["num_sampled"], 1),
        }

    def _row(self, index: str) -> int:
        if index not in self._rows:
            raise ValueError(
                f"collect.path: got {self.directory}, which has no prompt {index!r}; expected the training prompts of "
                "this job; run `vaopd collect` with the same dataset and teacher"
            )
        return self._rows[index]


def require_collection(directory: Path) -> None:
    """Raise ValueError where something else than a collection is: nothing is written beside what is not ours."""
    if not directory.exists():
        return
    if (directory / MANIFEST).is_file():
        _read_manifest(directory)
        return
    others = [name for name in content(directory) if name != _LOCK and not name.startswith(f".{MANIFEST}.")]
    if others or not directory.is_dir():
        raise ValueError(
            f"collect.path: got {directory}, which holds {listing_of(directory)} and no collection; expected a new or "
            "empty directory, or one that `vaopd collect` has written; name another one"
        )


def is_complete(directory: Path) -> bool:
    """Whether all prompts of the training file have been collected there."""
    if not (directory / MANIFEST).is_file():
        return False
    num_rows = sum(pq.read_metadata(part).num_rows for part in _parts(directory))
    return num_rows == _read_manifest(directory)["num_prompts"]


def is_collected(cfg: DictConfig) -> bool:
    """Whether all responses that a training needs are in `collect.path`, whatever their seed.

    Raises ValueError if something else is there, or responses that were made otherwise.
    """
    directory = Path(cfg.collect.path).expanduser()
    require_collection(directory)
    if is_complete(directory):
        StoredResponses(directory).require_made_with(cfg)
        return True
    if (directory / MANIFEST).is_file():
        require_same(directory, _read_manifest(directory)["made_with"], made_with(cfg))
    return False


@functools.cache
def stored_responses(path: str) -> StoredResponses:
    """The collection at `path`, read once per process. Raises as `StoredResponses`."""
    return StoredResponses(path)


def _read_manifest(directory: Path) -> dict[str, Any]:
    path = directory / MANIFEST
    if not path.is_file():
        raise ValueError(
            f"collect.path: got {directory}, where no responses are stored; expected what `vaopd collect` writes; "
            "run `vaopd collect` with the same dataset and teacher"
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        found = (manifest["format"], manifest["num_prompts"], manifest["made_with"])[0]
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"collect.path: got {path}, which is not of stored responses; expected what `vaopd collect` writes; name "
            "another directory"
        ) from None
    if found != FORMAT_VERSION:
        raise ValueError(
            f"collect.path: got {directory} of format {found}, expected {FORMAT_VERSION}; collect again "
            "into another directory"
        )
    return manifest


def _parts(directory: Path) -> list[Path]:
    parts = sorted(directory.glob("part-?????.parquet"))
    for number, part in enumerate(parts):
        if part.name != f"part-{number:05d}.parquet":
            raise ValueError(
                f"collect.path: got {directory} without part {number}, expected no gap before {part.name}; restore the "
                "part, or remove those after it and run `vaopd collect` again"
            )
    return parts
