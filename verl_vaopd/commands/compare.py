"""`vaopd compare method=opd,vaopd,grpo seeds=0,1`: several methods and seeds under one command, in one Ray session.

    <run.root>/compare-<run.name>/<method>-s<seed>/    one run directory each, as `vaopd train` makes it
    <run.root>/compare-<run.name>/comparison.md        the table; also .json and .csv
                                  steps.csv, questions.parquet, learning_curves.png

Every configuration is composed and checked before anything starts. All runs get the same overrides but for those that
`--for METHOD KEY=VALUE` gives to one method. The same command continues an interrupted comparison; more methods or
seeds under the same run.name extend it. Imports no torch.
"""

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verl_vaopd.commands import supervisor
from verl_vaopd.commands.console import format_nats, format_share
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
from verl_vaopd.files import require_own_results
from verl_vaopd.model_weights import fetch_models, hub_models
from verl_vaopd.runs import events, run_dir

SET_HERE = ("run.seed",)


@dataclass(frozen=True)
class Plan:
    """What to run, where.

    Attributes:
        directory: of the comparison, absolute.
        methods, seeds: in the order given.
        jobs: {(method, seed): job}, all methods of the first seed first.
        settings: JSON values that say what is compared; `per_method` holds what differs between methods.
    """

    directory: Path
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    jobs: Mapping[tuple[str, int], Job]
    settings: Mapping[str, Any]


def compare(
    overrides: Sequence[str],
    for_methods: Sequence[Sequence[str]],
    command_line: Sequence[str],
    command: Sequence[str] = supervisor.TRAINING_PROCESS,
) -> int:
    """Run a comparison to its end and print its table.

    Args:
        overrides: Hydra overrides for all runs, and the lists `method=A,B` and `seeds=0,1`.
        for_methods: of each `--for`, the method and overrides for it alone.
        command_line: the user's, for the records.
        command: starts the training process.
    Returns: exit code: 0 all runs are finished, 1 some failed, 128 + N stopped by signal N.
    Raises:
        ValueError: before anything starts; a configuration that cannot run (every problem of every method), lists that
            make no sense, a directory of other runs or in use.
    """
    from verl_vaopd.analysis.comparison import RESULTS

    plan = make_plan(overrides, for_methods)
    jobs = list(plan.jobs.values())
    require_own_results(plan.directory, RESULTS)
    num_done = sum(is_done(job) for job in jobs)
    fetch_models(hub_models(job.cfg for job in jobs if not is_done(job)))
    require_room_for((job.cfg, job.path) for job in jobs if not is_done(job))
    print(f"comparison  {plan.directory}: {len(jobs)} runs" + (f", {num_done} of them finished" if num_done else ""))
    print_cautions({method: plan.jobs[method, plan.seeds[0]].cfg for method in plan.methods})
    counted = num_done

    def tell(job: Job, reason: str | None) -> None:
        nonlocal counted
        counted += 1
        text = _result_line(job) if reason is None else f"failed: {reason} (log: {job.path / run_dir.LOG})"
        print(f"[{counted}/{len(jobs)}] {job.title}: {text}", flush=True)

    outcome = run_together(jobs, command_line, tell, command)
    if outcome.stopped_by is not None:
        print(f"Stopped by {signal.Signals(outcome.stopped_by).name}. The same command again continues.")
        return 128 + outcome.stopped_by
    for line in outcome.excerpt:
        print(line)
    _conclude(plan, outcome.failures)
    if outcome.failures:
        print(f"{len(outcome.failures)} of {len(jobs)} runs did not finish. The same command again resumes them.")
    return 1 if outcome.failures else 0


def make_plan(overrides: Sequence[str], for_methods: Sequence[Sequence[str]]) -> Plan:
    """Compose and check every configuration.

    Raises:
        ValueError: as compare.
    """
    from verl_vaopd.config import with_default_groups

    methods, seeds, rest = _lists(overrides)
    own = own_overrides(for_methods, methods, SET_HERE)
    common = with_default_groups(rest)
    configs = compose_all({method: [*common, f"method={method}", *own[method]] for method in methods})
    for cfg in configs.values():
        if cfg.validation.every < 1:
            raise ValueError(
                f"validation.every: got {cfg.validation.every}, expected at least 1: methods are compared on what they "
                "answer after training"
            )
    per_method = {method: overrides for method, overrides in own.items() if overrides}
    settings = {"methods": methods, "seeds": seeds, "overrides": common, "per_method": per_method}
    # Not of the lists, so that more methods or seeds find what is there.
    directory = directory_of("compare", configs[methods[0]], common, per_method)
    jobs = {
        (method, seed): make_job(
            title=f"{method}, seed {seed}",
            cfg=configs[method],
            overrides=[*common, f"method={method}", *own[method]],
            directory=directory,
            name=f"{method}-s{seed}",
            run__seed=seed,
        )
        for seed in seeds
        for method in methods
    }
    return Plan(directory, methods, seeds, jobs, settings)


def _lists(overrides: Sequence[str]) -> tuple[tuple[str, ...], tuple[int, ...], list[str]]:
    """Methods, seeds and the overrides that are neither."""
    lists, common = take(overrides, ("method", "seeds"), SET_HERE)
    found = {key: [item for item in lists.get(key, "").strip("[]").split(",") if item] for key in ("method", "seeds")}
    for key, example in (("method", "method=opd,vaopd"), ("seeds", "seeds=0,1")):
        if not found[key] or len(set(found[key])) < len(found[key]):
            got = ",".join(found[key]) or "nothing"
            raise ValueError(f"{key}: got {got}, expected one or more, each once, such as {example}")
    if not all(seed.isdecimal() for seed in found["seeds"]):
        raise ValueError(f"seeds: got {','.join(found['seeds'])}, expected whole numbers >= 0, such as seeds=0,1")
    return tuple(found["method"]), tuple(map(int, found["seeds"])), common


def _result_line(job: Job) -> str:
    from verl_vaopd.analysis.runs import seconds_per_step, selected_validation

    event = selected_validation(job.path)
    seconds = seconds_per_step(job.path)
    parts = [f"held-out accuracy {format_share(event, 'accuracy')} at step {event['step']}"]
    parts.append(f"mean VA {format_nats(event, 'mean_va')}")
    steps = events.steps(job.path / events.FILE_NAME)
    parts += [f"{len(steps)} steps of {seconds:.1f} s"] if seconds is not None else []
    return " | ".join(parts)


def _conclude(plan: Plan, failures: Mapping[str, str]) -> None:
    """Print the table and write everything, of the runs that are finished."""
    from verl_vaopd.analysis.comparison import ComparedRun, method_results, write_comparison

    runs = [ComparedRun(*key, job.path) for key, job in plan.jobs.items() if run_dir.is_finished(job.path)]
    if not runs:
        return
    results = method_results(plan.methods, plan.seeds, runs)
    print("", write_comparison(plan.directory, results, runs, failures, plan.settings), "", sep="\n")
    print(f"tables and figure  {plan.directory}")
