"""Several runs in one training process, one after the other: start-up and Ray are shared, results are not.

A run of a batch has a fixed directory, so that the same batch again skips what is finished and resumes the rest. A run
that fails is told and does not stop the others. Imports no torch.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from verl_vaopd.commands.jobs import Job, is_done
from verl_vaopd.commands.supervisor import TRAINING_PROCESS, Supervisor, disk_warning
from verl_vaopd.rollout.row_check import record_left_out
from verl_vaopd.runs import events, run_dir
from verl_vaopd.runs.causes import error_excerpt, short_cause
from verl_vaopd.runs.run_dir import LOG, RunDir


@dataclass(frozen=True)
class Outcome:
    """How a batch ended.

    Attributes:
        stopped_by: the signal that this process received, if any.
        failures: {title: reason} of the runs that did not finish; without those that a signal stopped.
        excerpt: lines to show, with the end of the log, where the training process ended before the runs did.
    """

    stopped_by: int | None = None
    failures: Mapping[str, str] = field(default_factory=dict)
    excerpt: tuple[str, ...] = ()


def run_together(
    jobs: Sequence[Job],
    command_line: Sequence[str],
    tell: Callable[[Job, str | None], None],
    command: Sequence[str] = TRAINING_PROCESS,
) -> Outcome:
    """Run what is not finished, in the order given, and wait for it.

    Args:
        command_line: the user's.
        tell: called as each run ends, with None or the reason of its failure.
        command: starts the training process; `--keep-going` and one `--run-dir` per run are added.
    Raises:
        ValueError: before anything starts, if a directory is in use or holds another configuration.
    """
    todo = [job for job in jobs if not is_done(job)]
    if not todo:
        return Outcome()
    failures: dict[str, str] = {}
    with ExitStack() as stack:
        runs: list[RunDir] = []
        try:
            for job in todo:
                runs.append(run_dir.prepare(job.cfg, job.overrides, command_line))
                stack.callback(os.close, runs[-1].lock)
                record_left_out(job.cfg, runs[-1].path)
        except ValueError:
            for run in runs:
                run_dir.discard(run)
            raise
        logs = {job.path / LOG: _size(job.path / LOG) for job in todo}
        offsets = [events.end_of(job.path / events.FILE_NAME) for job in todo]
        # The process gets the last run's log and lock, and its directory as the last one. The lock keeps the same batch
        # from starting again before a process that lost its parent has ended.
        others = [flag for job in todo[:-1] for flag in ("--run-dir", str(job.path))]
        with Supervisor(runs[-1], [*command, "--keep-going", *others]) as supervisor:
            for job, offset in zip(todo, offsets, strict=True):
                reason = _follow(job, offset, supervisor)
                if reason is not None:
                    failures[job.title] = reason
                if reason is not None or run_dir.is_finished(job.path):
                    tell(job, reason)
            while supervisor.alive():
                time.sleep(0.1)
        for run in runs:
            if any(event["kind"] == "refused" for event in events.read(run.path / events.FILE_NAME)):
                run_dir.discard(run)
    cut_off = [job for job in todo if job.title not in failures and not run_dir.is_finished(job.path)]
    if not cut_off or supervisor.interrupted is not None:
        return Outcome(supervisor.interrupted, failures)
    failures |= {job.title: "the training process ended before the run did" for job in cut_off}
    return Outcome(None, failures, _last_words(logs))


def _follow(job: Job, offset: int, supervisor: Supervisor) -> str | None:
    """Wait until the run or the process has ended, with a live line on a terminal; the reason if the run failed."""
    reasons: list[str] = []

    def writing() -> bool:
        return supervisor.alive() and not reasons and not run_dir.is_finished(job.path)

    with tqdm(bar_format="{desc}", disable=None, leave=False) as line:
        line.set_description_str(f"  {job.title} ...")
        for event in events.follow(job.path / events.FILE_NAME, writing, offset):
            if event["kind"] in ("failed", "refused"):
                reasons.append(short_cause(event["text"]))
            elif event["kind"] == "step":
                line.set_description_str(f"  {job.title}: step {event['step']}/{event['total']}")
    return reasons[-1] if reasons else None


def _last_words(logs: Mapping[Path, int]) -> tuple[str, ...]:
    """From the log that was written last; logs: {path: bytes before this launch}."""
    written = [path for path, size in logs.items() if _size(path) > size]
    if not written:
        return ()
    latest = max(written, key=lambda path: path.stat().st_mtime)
    head = "The training process ended early. From the end of its log:"
    lines = [f"    {line}" for line in error_excerpt(latest, logs[latest])]
    return (head, "", *lines, "", *disk_warning(latest.parent), f"whole log: {latest}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
