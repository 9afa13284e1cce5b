"""`vaopd train`: compose, check, prepare the run directory, train in a process of its own, and report."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from verl_vaopd.commands import report, supervisor
from verl_vaopd.commands.checks import record, require_memory
from verl_vaopd.commands.console import Console
from verl_vaopd.commands.data import require_data
from verl_vaopd.commands.program import program, short
from verl_vaopd.commands.room import require_room_for
from verl_vaopd.config import cautions, compose, validate, with_default_groups
from verl_vaopd.model_weights import fetch_models, hub_models, require_models
from verl_vaopd.rollout.row_check import record_left_out
from verl_vaopd.runs import events, run_dir
from verl_vaopd.runs.checkpoints import BEST, complete_steps


def train(overrides: Sequence[str], command_line: Sequence[str], print_only: bool = False) -> int:
    """Train, or resume the same command's unfinished run.

    Args:
        overrides: Hydra overrides; groups that are not chosen are chosen by hardware.
        command_line: the user's, for the records.
        print_only: print the resolved configuration and start nothing.
    Returns: exit code of supervisor.run.
    Raises:
        ValueError: a configuration or data that cannot be used, or a directory in use or of another run.
    """
    overrides = with_default_groups(overrides)
    cfg = compose(overrides)
    if print_only:
        print(OmegaConf.to_yaml(run_dir.with_dir(cfg, run_dir.choose(cfg))), end="")
        return 0
    found = [*validate(cfg), require_memory(cfg)]
    models = hub_models([cfg])
    require_models(models)
    require_data(cfg)
    fetch_models(models)
    require_room_for([(cfg, run_dir.choose(cfg))])
    run = run_dir.prepare(cfg, overrides, command_line)
    record_left_out(cfg, run.path)
    console = Console()
    console.print(f"run  {short(run.path)} ({'resumed' if run.resumes else 'new'})")
    console.print(f"log  {short(run.path / run_dir.LOG)}")
    for caution in cautions(cfg):
        console.print(f"warning: {caution}")
    record(run.path, found, cfg.preflight.waive, console.show)
    for change in run.changes:
        console.print(f"warning: not as when this run began: {change}")
    try:
        code = supervisor.run(run, console)
    finally:
        os.close(run.lock)
    if code == 0:
        _conclude(run.path, console)
    return code


def _conclude(run: Path, console: Console) -> None:
    """The table, the curve and what to try next."""
    console.print()
    if events.validations(run / events.FILE_NAME):
        console.print(report.final_table(run))
        console.print()
        console.print(f"learning curve  {short(report.learning_curve(run))}")
    console.print(f"run directory   {short(run)}")
    console.print(f"next            {_next_command(run)}")


def _next_command(run: Path) -> str:
    """What to try after a training: export the best checkpoint, or the last where none was validated."""
    where = shlex.quote(short(run))
    if not complete_steps(run / run_dir.CHECKPOINTS):
        return f"{program()} report {where}"
    which = "" if (run / run_dir.CHECKPOINTS / BEST).exists() else " --checkpoint last"
    return f"{program()} export {where}{which}"
