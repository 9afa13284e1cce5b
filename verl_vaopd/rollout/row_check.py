"""The check of all rows that a job trains and validates on, with the job's own reader and the student's own processor.

What code makes is checked by the process that has made it; all other files by the command, before anything starts.
Imports neither torch nor verl.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig

from verl_vaopd.config.objective import Objective
from verl_vaopd.data.checking import Measure, check_files
from verl_vaopd.data.files import held_out_files, is_made_here, train_files
from verl_vaopd.files import write_text
from verl_vaopd.rollout.prompt_lengths import Limits

LEFT_OUT = "left_out_rows.json"
"""In a run directory: {file: numbers of its rows that are left out}."""

_passed: dict[str, list[int]] = {}
"""What this process has checked, and which rows it leaves out: several runs of a command have the same files."""


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


def left_out_rows(cfg: DictConfig) -> dict[Path, list[int]]:
    """{file: numbers of its rows that the job leaves out} (dataset.overlong), after require_rows."""
    suffix = cfg.dataset.prompt_suffix
    numbers = {file: _passed.get(_key(file, suffix, limit), []) for file, limit in _limits(cfg, False).items()}
    return {file: rows for file, rows in numbers.items() if rows}


def record_left_out(cfg: DictConfig, run: Path) -> None:
    """Tell a run which rows it leaves out, where its data set reads it (`data.rows.left_out`)."""
    if cfg.dataset.overlong == "drop":
        rows = {str(file): numbers for file, numbers in left_out_rows(cfg).items()}
        write_text(run / LEFT_OUT, json.dumps(rows, indent=1) + "\n")


def _limits(cfg: DictConfig, made_here: bool) -> dict[Path, Limits]:
    training = Limits.from_config(cfg, privileged=Objective.from_config(cfg).privileged)
    held_out = Limits.from_config(cfg, privileged=False)
    limits = {**dict.fromkeys(held_out_files(cfg), held_out), **dict.fromkeys(train_files(cfg), training)}
    return {file: limit for file, limit in limits.items() if is_made_here(cfg, file) == made_here}


def _require(cfg: DictConfig, made_here: bool) -> None:
    limits, suffix = _limits(cfg, made_here), cfg.dataset.prompt_suffix
    new = {file: limit for file, limit in limits.items() if _key(file, suffix, limit) not in _passed}
    measures: dict[Path, Callable[[], Measure]] = {file: limit.measure for file, limit in new.items()}
    drop = cfg.dataset.overlong == "drop" and not made_here
    checked = check_files(list(new), suffix, measures, in_process=made_here, drop_overlong=drop)
    checked.raise_if_bad()
    _passed.update({_key(file, suffix, limit): checked.left_out.get(file, []) for file, limit in new.items()})


def _key(file: Path, suffix: str, limits: Limits) -> str:
    stat = file.stat()
    return f"{file} {stat.st_size} {stat.st_mtime_ns} {suffix!r} {limits}"
