"""Which checkpoints are whole, which is the latest and which is the best.

verl writes a checkpoint as a directory `global_step_N` of many files from several processes. It counts only once the
trainer has written the marker `COMPLETE` into it, last, after everything else is on disk. The marker lists every file
with its size, so a checkpoint that lost files afterwards (an interrupted clean-up, a partial copy) does not count
either. Imports no torch.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from verl_vaopd.files import flush, remove_own, write_text

MARKER = "COMPLETE"
BEST = "best"
_PREFIX = "global_step_"


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


def is_complete(step_dir: str | os.PathLike[str]) -> bool:
    """Whether the marker is there and every file it lists is, at its size."""
    step_dir = Path(step_dir)
    marker = step_dir / MARKER
    if not marker.is_file():
        return False
    sizes = json.loads(marker.read_text(encoding="utf-8"))
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
    Half-written ones are left alone: one of them may be being written.
    """
    checkpoints_dir = Path(checkpoints_dir)
    if keep < 1:
        raise ValueError(f"keep: got {keep}, expected at least 1, or a run could not be resumed")
    best = (checkpoints_dir / BEST).resolve().name
    steps = complete_steps(checkpoints_dir)[:-keep]
    deleted = [step for step in steps if checkpoint_path(checkpoints_dir, step).name != best]
    for step in deleted:
        path = checkpoint_path(checkpoints_dir, step)
        files = json.loads((path / MARKER).read_text(encoding="utf-8"))
        # The marker first: an interrupted deletion must not leave something that counts.
        remove_own(path, [MARKER, *files])
    return deleted
