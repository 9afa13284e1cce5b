"""Which checkpoints are whole, which is the latest and which is the best.

verl writes a checkpoint as a directory `global_step_N` of many files from several processes. It counts only once the
trainer has written the marker `COMPLETE` into it, last, after everything else is on disk. The marker lists every file
with its size, so a checkpoint that lost files afterwards (an interrupted clean-up, a partial copy) does not count
either. Imports no torch.
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from verl_vaopd.config.checks.weights import checkpoint_bytes
from verl_vaopd.disk import DiskFull, free_bytes, require_room
from verl_vaopd.files import content, flush, remove_own, write_text

MARKER = "COMPLETE"
BEST = "best"
_PREFIX = "global_step_"
_DELETED = ".deleted_"
_FULL = re.compile("No space left|Disk quota exceeded|PytorchStreamWriter failed|file write failed")
_SCARCE = 4 << 20
"""Bytes: with less left, it was the disk, whatever the error says."""


def checkpoint_path(checkpoints_dir: str | os.PathLike[str], step: int) -> Path:
    """Where verl puts the checkpoint of a step."""
    return Path(checkpoints_dir) / f"{_PREFIX}{step}"


def mark_complete(step_dir: str | os.PathLike[str]) -> None:
    """Declare a checkpoint whole. Call it last; every file is flushed to disk before the marker exists.

    Raises ValueError for a directory without files.
    """
    step_dir = Path(step_dir)
    files = sorted(path for path in step_dir.rglob("*") if path.is_file() and path.name != MARKER)
    if not files:
        raise ValueError(f"{step_dir}: got no files, expected a written checkpoint; mark it after saving")
    for path in [*files, *(path for path in step_dir.rglob("*") if path.is_dir()), step_dir]:
        flush(path)
    sizes = {str(path.relative_to(step_dir)): path.stat().st_size for path in files}
    write_text(step_dir / MARKER, json.dumps(sizes, indent=1))
    flush(step_dir)


@contextlib.contextmanager
def saving(step_dir: Path, needed: int) -> Iterator[None]:
    """Around the writing of a checkpoint. What a full disk has left half-written is removed; nothing else is touched.

    Args:
        needed: bytes, about; 0: as many as the latest complete one has.
    Raises:
        DiskFull: there is not that much room, before anything is written; or there turned out not to be.
    """
    latest = latest_complete(step_dir.parent)
    needed = max(needed, 0 if latest is None else sum(_listed(latest).values()))
    what, is_new = f"the checkpoint {step_dir.name}", not step_dir.exists()
    require_room(step_dir, needed, what)
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch's writer, and Ray for a worker, raise RuntimeError
        if not _FULL.search(str(error)) and free_bytes(step_dir) >= min(needed, _SCARCE):
            raise
        if is_new:
            shutil.rmtree(step_dir, ignore_errors=True)
        raise DiskFull(step_dir, needed, what) from error


def bytes_to_write(cfg: DictConfig, checkpoints_dir: Path) -> int:
    """About what the checkpoints of a run still need; 0 where their size is not known or nothing is saved."""
    trainer, one = cfg.trainer, checkpoint_bytes(cfg)
    if trainer.val_only or trainer.save_freq < 1:
        return 0
    # Without a number of steps at least one is written.
    count = 1 if trainer.total_training_steps is None else -(-trainer.total_training_steps // trainer.save_freq)
    if cfg.checkpoint.keep is not None:
        count = min(count, cfg.checkpoint.keep + 2)  # the best, and the one that is being written
    return one * max(count - len(complete_steps(checkpoints_dir)), 1)


def is_complete(step_dir: str | os.PathLike[str]) -> bool:
    """Whether the marker is there and every file it lists is, at its size."""
    step_dir = Path(step_dir)
    marker = step_dir / MARKER
    if not marker.is_file():
        return False
    sizes = _listed(step_dir)
    return all((step_dir / name).is_file() and (step_dir / name).stat().st_size == size for name, size in sizes.items())


def complete_steps(checkpoints_dir: str | os.PathLike[str]) -> list[int]:
    """Steps with a complete checkpoint, ascending; an absent directory has none."""
    directories = Path(checkpoints_dir).glob(f"{_PREFIX}*")
    numbered = [(path.name.removeprefix(_PREFIX), path) for path in directories]
    return sorted(int(number) for number, path in numbered if number.isdecimal() and is_complete(path))


def latest_complete(checkpoints_dir: str | os.PathLike[str]) -> Path | None:
    """The complete checkpoint of the highest step, or None."""
    steps = complete_steps(checkpoints_dir)
    return checkpoint_path(checkpoints_dir, steps[-1]) if steps else None


def best_step(validations: Iterable[Mapping[str, Any]], among: Iterable[int]) -> int | None:
    """The step of the highest held-out accuracy among some steps, the earliest on ties, or None.

    Args:
        validations: `validation` events, one per step, in any order.
        among: steps that may be chosen.
    """
    allowed = set(among)
    candidates = [event for event in validations if event["step"] in allowed and event["accuracy"] is not None]
    return min(candidates, key=lambda event: (-event["accuracy"], event["step"]))["step"] if candidates else None


def link_best(checkpoints_dir: str | os.PathLike[str], validations: Iterable[Mapping[str, Any]]) -> int | None:
    """Point `best` at the best complete checkpoint, in one rename, and return its step.

    Without a validated complete checkpoint nothing is linked, a stale link is removed and None is returned.
    """
    checkpoints_dir = Path(checkpoints_dir)
    link = checkpoints_dir / BEST
    step = best_step(validations, complete_steps(checkpoints_dir))
    if link.exists() and not link.is_symlink():
        raise ValueError(f"{link}: got a file or directory, expected a link to a checkpoint or nothing; move it away")
    if step is None:
        link.unlink(missing_ok=True)
        return None
    temporary = checkpoints_dir / f".{BEST}.{os.getpid()}"
    temporary.unlink(missing_ok=True)
    # Relative, so that a run directory can be moved.
    temporary.symlink_to(f"{_PREFIX}{step}")
    temporary.replace(link)
    return step


def prune(checkpoints_dir: str | os.PathLike[str], keep: int) -> list[int]:
    """Delete complete checkpoints but the latest `keep` and the one that `best` points at; returns the deleted steps.

    Files that were put beside a checkpoint's own are left where they are.
    Half-written ones are left alone: one of them may be being written. What is deleted is renamed first, so that an
    interruption leaves no checkpoint with files missing; the next call deletes what it has left.
    """
    checkpoints_dir = Path(checkpoints_dir)
    if keep < 1:
        raise ValueError(f"keep: got {keep}, expected at least 1, or a run could not be resumed")
    best = (checkpoints_dir / BEST).resolve().name
    steps = complete_steps(checkpoints_dir)[:-keep]
    deleted = [step for step in steps if checkpoint_path(checkpoints_dir, step).name != best]
    for step in deleted:
        path = checkpoint_path(checkpoints_dir, step)
        own = [MARKER, *_listed(path)]
        if set(content(path)) > set(own):
            remove_own(path, own)  # the marker first: what an interruption leaves does not count
        else:
            path.rename(path.with_name(_DELETED + path.name))
    for path in checkpoints_dir.glob(f"{_DELETED}{_PREFIX}*"):
        shutil.rmtree(path)
    return deleted


def _listed(step_dir: Path) -> dict[str, int]:
    """{name: size} of a complete checkpoint's files."""
    return json.loads((step_dir / MARKER).read_text(encoding="utf-8"))
