"""`vaopd two-stage stage1=opd stage2=grpo`: distillation or SFT first, reinforcement learning from its checkpoint.

    <run.root>/two-stage-<run.name>/stage1, stage2       one run directory each, as `vaopd train` makes it
                                    boundary, end        the checkpoints that went on, as Hugging Face directories
                                    measured-<point>     validation-only runs of init, boundary and end
                                    two_stage.md         the table; also .json, .csv and .png, and entropy.csv

Stage 1 stops early (`validation.patience`) and stage 2 starts from its best checkpoint; with `overtrain=true` stage 1
runs to its end and stage 2 starts from the last one. The same command continues an interrupted one. Imports no torch.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verl_vaopd.commands import supervisor
from verl_vaopd.commands.console import Console
from verl_vaopd.commands.jobs import (
    Job,
    compose_all,
    directory_of,
    is_done,
    make_job,
    own_overrides,
    print_cautions,
    take,
)
from verl_vaopd.commands.room import require_room_for
from verl_vaopd.commands.run_jobs import run_together
from verl_vaopd.disk import told_if_full
from verl_vaopd.files import require_own_results
from verl_vaopd.model_weights import fetch_models, hub_models
from verl_vaopd.rollout.row_check import record_left_out
from verl_vaopd.runs import run_dir
from verl_vaopd.runs.causes import cause_in
from verl_vaopd.runs.export import PROVENANCE, resolve_checkpoint

STAGES = {"stage1": ("cot_sft", "opd", "vaopd"), "stage2": ("grpo", "papo")}
MEASURE = "measure"
BOUNDARY, END = "boundary", "end"
PATIENCE = 2
"""Validations without gain after which stage 1 stops, unless validation.patience says otherwise."""
NUM_SAMPLES = 16
"""Samples per question at the points, unless `--for measure validation.n=...` says otherwise."""
OUT_OF_DOMAIN = "test_ood"
"""Measured beside the held-out split, unless validation.splits names others."""

Export = Callable[[Path, str, Path], None]


@dataclass(frozen=True)
class Plan:
    """What to run, where.

    Attributes:
        directory: of everything, absolute.
        checkpoint: of stage 1 that goes on, `best` or `last`.
        stages: the two runs.
        points: {init, boundary, end: run that measures it}.
        splits: measured ones, the in-domain one first.
        settings: JSON values that say what is run.
    """

    directory: Path
    checkpoint: str
    stages: tuple[Job, Job]
    points: dict[str, Job]
    splits: tuple[str, ...]
    settings: dict[str, Any]


def export_checkpoint(run: Path, checkpoint: str, out: Path) -> None:
    """`vaopd export` in a process of its own, which may import torch. Raises ValueError where it fails."""
    # In float32 the exported model is the one that was validated, not a rounded one.
    options = ["--checkpoint", checkpoint, "--out", str(out), "--dtype", "float32"]
    # verl's merger and transformers talk a lot; what they said matters only where it went wrong.
    command = [sys.executable, "-m", "verl_vaopd.cli", "export", str(run), *options]
    log = run / f"export-{out.name}.log"
    with told_if_full(log), log.open("ab") as file:
        start = file.tell()
        result = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT)
    if result.returncode != 0:
        cause = cause_in(log, start)
        raise ValueError(f"{run}: could not export its {checkpoint} checkpoint to {out}: {cause} (log: {log})")


def two_stage(
    overrides: Sequence[str],
    for_parts: Sequence[Sequence[str]],
    command_line: Sequence[str],
    command: Sequence[str] = supervisor.TRAINING_PROCESS,
    export: Export = export_checkpoint,
) -> int:
    """Run both stages and the measurements to their end and print the table.

    Args:
        overrides: Hydra overrides for all runs, and `stage1=METHOD`, `stage2=METHOD`, `overtrain=true|false`.
        for_parts: of each `--for`, `stage1`, `stage2` or `measure`, and overrides for it alone.
        command_line: the user's, for the records.
        command: starts the training process.
        export: (run, checkpoint, out): writes a checkpoint as a Hugging Face directory.
    Returns: exit code: 0 everything is finished, 1 something failed, 128 + N stopped by signal N.
    Raises:
        ValueError: before anything starts, a configuration that cannot run or a directory of other runs or in use;
            later, a stage without the checkpoint that should go on.
    """
    from verl_vaopd.analysis.two_stage import RESULTS

    plan = make_plan(overrides, for_parts)
    require_own_results(plan.directory, RESULTS)
    print(f"two stages  {plan.directory}")
    for model in (plan.directory / BOUNDARY, plan.directory / END):
        if model.exists():
            _exported_step(model)
    jobs = (*plan.stages, *plan.points.values())
    done = [is_done(job) for job in jobs]
    ahead = [job for job, is_over in zip(jobs, done, strict=True) if not is_over]
    fetch_models(hub_models(job.cfg for job in ahead))
    require_room_for((job.cfg, job.path) for job in ahead)
    if any(done):
        print(f"            {sum(done)} of {len(done)} runs are finished")
    print_cautions({stage.title: stage.cfg for stage in plan.stages})
    for stage, checkpoint, out in zip(plan.stages, (plan.checkpoint, "best"), (BOUNDARY, END), strict=True):
        code = _train(stage, command_line, command)
        if code != 0:
            return code
        _export_once(stage.path, checkpoint, plan.directory / out, export)

    def tell(job: Job, reason: str | None) -> None:
        text = "measured" if reason is None else f"failed: {reason} (log: {job.path / run_dir.LOG})"
        print(f"{job.title}: {text}", flush=True)

    outcome = run_together(list(plan.points.values()), command_line, tell, command)
    for line in outcome.excerpt:
        print(line)
    if outcome.stopped_by is not None:
        print(f"Stopped by {signal.Signals(outcome.stopped_by).name}. The same command again continues.")
        return 128 + outcome.stopped_by
    if outcome.failures:
        print("Not every point was measured. The same command again continues.")
        return 1
    _conclude(plan)
    return 0


def make_plan(overrides: Sequence[str], for_parts: Sequence[Sequence[str]]) -> Plan:
    """Compose and check every configuration.

    Raises:
        ValueError: as two_stage.
    """
    from verl_vaopd.config import with_default_groups

    chosen, rest = take(overrides, (*STAGES, "overtrain"), ["method"])
    overtrain = _overtrain(chosen.pop("overtrain", "false"))
    for stage, methods in STAGES.items():
        if chosen.get(stage) not in methods:
            raise ValueError(f"{stage}: got {chosen.get(stage, 'nothing')}, expected one of {', '.join(methods)}")
    own = own_overrides(for_parts, (*STAGES, MEASURE), ["method", "student.path"])
    common = with_default_groups(rest)
    base = compose_all({MEASURE: [*common, "method=base"]})[MEASURE]
    splits = tuple(base.validation.splits)
    splits = splits if len(splits) > 1 else (*splits, OUT_OF_DOMAIN)
    parts = _parts(chosen, overtrain, common, own, splits)
    configs = compose_all(parts)
    for stage in STAGES:
        if configs[stage].validation.every < 1 or configs[stage].checkpoint.every < 1:
            raise ValueError(
                f"{stage}: got validation.every={configs[stage].validation.every}, "
                f"checkpoint.every={configs[stage].checkpoint.every}, expected both at least 1: what goes on is a "
                "validated checkpoint"
            )
    directory = directory_of("two-stage", base, common, [chosen, overtrain, own])

    def job(title: str, part: str, name: str, student: str | None) -> Job:
        changes = {} if student is None else {"student__path": str(directory / student)}
        return make_job(title, configs[part], parts[part], directory, name, **changes)

    return Plan(
        directory,
        checkpoint="last" if overtrain else "best",
        stages=(
            job(f"stage 1 ({chosen['stage1']})", "stage1", "stage1", None),
            job(f"stage 2 ({chosen['stage2']})", "stage2", "stage2", BOUNDARY),
        ),
        points={
            "init": job("init", MEASURE, "measured-init", None),
            **{point: job(point, MEASURE, f"measured-{point}", point) for point in (BOUNDARY, END)},
        },
        splits=splits,
        settings={**chosen, "overtrain": overtrain, "overrides": common, "per_part": own},
    )


def _parts(
    chosen: Mapping[str, str],
    overtrain: bool,
    common: Sequence[str],
    own: Mapping[str, Sequence[str]],
    splits: Sequence[str],
) -> dict[str, list[str]]:
    """{part: overrides}; the later of two for one key holds."""
    # In the stages the in-domain split alone, which selects the checkpoint.
    training = [*common, f"validation.splits=[{splits[0]}]"]
    stage1, stage2 = ([*training, f"method={chosen[stage]}", *own[stage]] for stage in STAGES)
    measure = [*common, "method=base", f"validation.n={NUM_SAMPLES}", *own[MEASURE]]
    fixed = [f"validation.splits=[{','.join(splits)}]", "validation.entropy=true", "validation.before_train=true"]
    return {
        "stage1": [f"validation.patience={PATIENCE}", *stage1, *(["validation.patience=null"] if overtrain else [])],
        "stage2": stage2,
        MEASURE: [*measure, *fixed],
    }


def _overtrain(value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise ValueError(f"overtrain: got {value}, expected true or false")
    return value.lower() == "true"


def _train(stage: Job, command_line: Sequence[str], command: Sequence[str]) -> int:
    """Train a stage that is not finished; 0 when it is."""
    if is_done(stage):
        return 0
    run = run_dir.prepare(stage.cfg, stage.overrides, command_line)
    record_left_out(stage.cfg, run.path)
    print(f"{stage.title}: {run.path} ({'resumed' if run.resumes else 'new'})")
    try:
        return supervisor.run(run, Console(), command)
    finally:
        os.close(run.lock)


def _export_once(run: Path, checkpoint: str, out: Path, export: Export) -> None:
    """Export unless it is there. Raises ValueError if what is there is another checkpoint."""
    step = _step_of(resolve_checkpoint(run, checkpoint))
    if not out.exists():
        print(f"{out.name}: checkpoint of step {step} ({checkpoint})")
        export(run, checkpoint, out)
    there = _exported_step(out)
    if there != step:
        raise ValueError(
            f"{out}: got a model of step {there}, expected that of step {step}, the {checkpoint} checkpoint of {run}; "
            "move it away, or choose another run.name"
        )


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("_")[2])


def _exported_step(model: Path) -> int:
    try:
        return json.loads((model / PROVENANCE).read_text(encoding="utf-8"))["step"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(
            f"{model}: got something else than a model that this command has exported there; expected that, or no "
            "such directory; move it away, or choose another run.name"
        ) from None


def _conclude(plan: Plan) -> None:
    """Print the table and write everything."""
    from verl_vaopd.analysis.two_stage import Trained, write_two_stage

    stages = [
        Trained(stage.title, stage.path, _exported_step(plan.directory / out))
        for stage, out in zip(plan.stages, (BOUNDARY, END), strict=True)
    ]
    runs = {point: job.path for point, job in plan.points.items()}
    print("", write_two_stage(plan.directory, runs, plan.splits, stages, plan.settings), "", sep="\n")
    print(f"tables and figure  {plan.directory}")
