"""The check of all rows that a job trains and validates on, with the job's own reader and the student's own processor.

What code makes is checked by the process that has made it; all other files by the command, before anything starts.
Imports neither torch nor verl.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig

from verl_vaopd.config.objective import Objective
from verl_vaopd.data.checking import Measure, check_files
from verl_vaopd.data.files import held_out_files, is_made_here, train_files
from verl_vaopd.rollout.prompt_lengths import Limits

_passed: set[str] = set()
"""What this process has checked: several runs of a command have the same files."""


def require_rows(cfg: DictConfig) -> None:
    """Check the rows of every data file that must be there before the start.

    Args:
        cfg: the job's configuration, validated.
    Raises:
        ValueError: listing the first bad rows.
    """
    _require(cfg, made_here=False)


def require_made_rows(cfg: DictConfig) -> None:
    """The same of the files that data.generated.generate has made, in this process."""
    _require(cfg, made_here=True)


def _require(cfg: DictConfig, made_here: bool) -> None:
    training = Limits.from_config(cfg, privileged=Objective.from_config(cfg).privileged)
    held_out = Limits.from_config(cfg, privileged=False)
    limits = {**dict.fromkeys(held_out_files(cfg), held_out), **dict.fromkeys(train_files(cfg), training)}
    limits = {file: limit for file, limit in limits.items() if is_made_here(cfg, file) == made_here}
    suffix = cfg.dataset.prompt_suffix
    new = {file: limit for file, limit in limits.items() if _key(file, suffix, limit) not in _passed}
    measures: dict[Path, Callable[[], Measure]] = {file: limit.measure for file, limit in new.items()}
    check_files(list(new), suffix, measures, in_process=made_here).raise_if_bad()
    _passed.update(_key(file, suffix, limit) for file, limit in new.items())


def _key(file: Path, suffix: str, limits: Limits) -> str:
    stat = file.stat()
    return f"{file} {stat.st_size} {stat.st_mtime_ns} {suffix!r} {limits}"
