"""The training process: `python -m verl_vaopd.trainer.main --run-dir RUN`, started by `vaopd train`.

Reads RUN/config.yaml (composed and validated by the launcher), starts Ray, trains, and reports by RUN/events.jsonl.
The trainer runs in this process, not in a Ray actor of its own: one start-up less, and errors end here. Several runs
share one Ray.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from omegaconf import DictConfig, OmegaConf

from verl_vaopd.config.objective import Objective
from verl_vaopd.config.preflight import PreflightError
from verl_vaopd.data.generated import GENERATED, generate
from verl_vaopd.data.stored import is_collected
from verl_vaopd.disk import DiskFull, told_if_full
from verl_vaopd.platform import prepare_environment, use_cpu, verify_registration
from verl_vaopd.rollout.row_check import require_made_rows
from verl_vaopd.runs.causes import cause_in, short_cause
from verl_vaopd.runs.checkpoints import BEST
from verl_vaopd.runs.events import FILE_NAME as EVENTS
from verl_vaopd.runs.events import EventLog
from verl_vaopd.runs.parent_watch import watch_parent
from verl_vaopd.runs.run_dir import LOG, mark_finished

WANDB_PLACES = tuple(name for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR") if name not in os.environ)
"""Else they are the current directory and the home. What a person has chosen holds."""

if TYPE_CHECKING:
    from verl_vaopd.rollout.agent_loop import ViewAgentLoopManager


def main(argv: list[str] | None = None) -> None:
    """Train runs to their ends, one after the other. Raises what stops one, unless told to keep going."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run-dir", type=Path, required=True, action="append", help="may be given several times")
    parser.add_argument("--keep-going", action="store_true", help="a run that fails does not stop the next ones")
    options = parser.parse_args(argv)
    # Ray and vLLM shut down in `finally` clauses, which SIGTERM's default action would skip.
    signal.signal(signal.SIGTERM, _stop)
    watch_parent()
    jobs = [Job(run_dir) for run_dir in options.run_dir]

    def attempt(job: Job, work: Callable[[Job], None]) -> None:
        if len(jobs) > 1:
            log_to(job.run_dir / LOG)
        set_environment(job.config, job.run_dir)
        try:
            with told_if_full(job.run_dir):
                work(job)
        except Exception as error:
            job.failed = True
            _report(error, job)
            if not options.keep_going:
                raise
            with contextlib.suppress(OSError):  # no room for it
                traceback.print_exc()

    for job in jobs:
        attempt(job, prepare)
    with contextlib.ExitStack() as stack:
        _start_ray([job for job in jobs if not job.failed], stack)
        for job in jobs:
            if not job.failed:
                attempt(job, train)
    failed = sum(job.failed for job in jobs)
    if failed:
        sys.exit(f"{failed} of {len(jobs)} runs failed; their tracebacks are in their train.log")


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    # Slurm signals every process of a step, and the supervisor hands its own signal on: one must not interrupt what
    # the other has begun.
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def _start_ray(jobs: Sequence[Job], stack: contextlib.ExitStack) -> None:
    """Enter one session for these runs, if there are any."""
    if not jobs:
        return
    from verl_vaopd.trainer.session import ray_session

    try:
        stack.enter_context(ray_session([job.config for job in jobs]))
    except Exception as error:
        for job in jobs:
            _report(error, job)
        raise


def _report(error: Exception, job: Job) -> None:
    """Tell the launcher why a run ends: refused, or failed.

    By the project's convention a ValueError that its own code raises is a user's mistake, told in one message. Before
    the first rollout nothing is lost with such a run.
    """
    origin = list(traceback.walk_tb(error.__traceback__))[-1][0].f_globals["__name__"]
    refused = isinstance(error, ValueError) and not job.begun and origin.startswith("verl_vaopd.")
    said = str(error.strerror) if isinstance(error, DiskFull) else str(error)
    whole = refused or isinstance(error, PreflightError)
    text = said if whole else short_cause(said) or type(error).__name__
    # A full disk is the reason then, and has no room for it.
    with contextlib.suppress(OSError), EventLog(job.run_dir / EVENTS) as events:
        events.write("refused" if refused else "failed", text=text)


@dataclass
class Job:
    """One run of this process."""

    run_dir: Path
    begun: bool = False
    """Its rollouts have begun."""
    failed: bool = False

    def __post_init__(self) -> None:
        config = OmegaConf.load(self.run_dir / "config.yaml")
        assert isinstance(config, DictConfig)
        self.config = config


def log_to(path: Path) -> None:
    """Send all that this process and its libraries print to the end of a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    with path.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)


def set_environment(config: DictConfig, run_dir: Path) -> None:
    """Variables of all processes; before torch, Ray, verl or vLLM is imported."""
    prepare_environment()
    use_cpu(config.trainer.device == "cpu")
    os.environ["TENSORBOARD_DIR"] = str(run_dir / "tensorboard")
    os.environ.update(dict.fromkeys(WANDB_PLACES, str(run_dir)))
    # verl's file tracker truncates its file: every launch gets its own.
    os.environ["VERL_FILE_LOGGER_PATH"] = str(run_dir / f"metrics_{time.strftime('%Y%m%d_%H%M%S')}.jsonl")


def prepare(job: Job) -> None:
    """Generate what code makes, check it, and collect stored responses. The launcher has checked all other data."""
    config = job.config
    with EventLog(job.run_dir / EVENTS) as events:
        if config.dataset.name in GENERATED:
            events.write("phase", name=f"generating {config.dataset.name}")
            generate(config)
            require_made_rows(config)
        if Objective.from_config(config).stored_responses and not is_collected(config):
            events.write("phase", name=f"collecting responses of the teacher in {config.collect.path}")
            # A process of its own: vLLM gives the accelerator's memory back only by ending.
            _collect(job.run_dir)
        events.write("phase", name="importing verl, vLLM and Ray")


def _collect(run_dir: Path) -> None:
    """Raises RuntimeError with the cause that the process has left in the log."""
    log = run_dir / LOG
    start = log.stat().st_size if log.exists() else 0
    result = subprocess.run([sys.executable, "-m", "verl_vaopd.rollout.collect", str(run_dir / "config.yaml")])
    if result.returncode != 0:
        cause = cause_in(log, start) if log.exists() else "its output is above"
        raise RuntimeError(f"responses could not be collected: {cause}")


def train(job: Job) -> None:
    """Start the queue and the workers, train to the end, and mark the run as finished."""
    import transfer_queue as tq
    from verl.utils.import_utils import load_class_from_fqn

    from verl_vaopd.trainer.session import release, require_own_queue
    from verl_vaopd.trainer.shared_storage import require_shared
    from verl_vaopd.trainer.trainer import DistillationTrainer
    from verl_vaopd.trainer.watch import Watch

    verify_registration()
    config, trainer = job.config, None
    config.transfer_queue.enable = True
    agent_loops_class = load_class_from_fqn(config.actor_rollout_ref.rollout.agent.agent_loop_manager_class)
    require_own_queue()
    require_shared(config)

    def start_queue_and_agent_loops(config: DictConfig) -> ViewAgentLoopManager:
        tq.init(config.transfer_queue)  # the workers of the agent loops look for it
        return agent_loops_class.start(config)

    with EventLog(job.run_dir / EVENTS) as events:
        try:
            events.write("phase", name="loading student, teacher and vLLM")
            with ThreadPoolExecutor(1) as pool:
                # Their processes import for many seconds, and nothing is asked of them before `fit`. A copy, as verl's
                # trainer writes into the configuration meanwhile.
                agent_loops = pool.submit(start_queue_and_agent_loops, copy.deepcopy(config))
                trainer = DistillationTrainer(config, events)
                trainer.init()
            events.write("phase", name="starting rollouts")
            agent_loops.result().connect(trainer.get_llm_client(), trainer.get_reward_handles())
            job.begun = True
            with Watch():
                trainer.fit(agent_loops.result())
        finally:
            tq.close()
            release(trainer)
        best = job.run_dir / "checkpoints" / BEST
        mark_finished(
            job.run_dir,
            last_step=trainer.last_step,
            ended_by="validation only" if config.trainer.val_only else trainer.ending,
            best=best.resolve().name if best.exists() else None,
        )
        events.write("finished")


if __name__ == "__main__":
    main()
