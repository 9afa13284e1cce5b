"""Whether the checkpoints of some runs will fit on the disk: asked before they start. Imports no torch."""

from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig

from verl_vaopd.disk import existing, free_bytes, size
from verl_vaopd.runs.checkpoints import bytes_to_write
from verl_vaopd.runs.run_dir import CHECKPOINTS


def require_room_for(runs: Iterable[tuple[DictConfig, Path]]) -> None:
    """Check the disk for all checkpoints that are still to be written, as far as their size and number are known.

    Args:
        runs: configuration and run directory of each; all are on one file system.
    Raises:
        ValueError: not so much is free.
    """
    needed, place = 0, None
    for cfg, path in runs:
        needed, place = needed + bytes_to_write(cfg, path / CHECKPOINTS), path
    if place is not None and free_bytes(place) < needed:
        raise ValueError(
            f"run.root: got {size(free_bytes(place))} free on the file system of {existing(place)}, expected about "
            f"{size(needed)} for the checkpoints that are to be kept; free some, or checkpoint.keep=1, or a larger "
            "checkpoint.every (with validation.every), or run.root=DIR on another disk"
        )
