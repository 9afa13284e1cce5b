"""A small training that is started, hurt and started again, as a person sees it: its output, its end, its steps."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from verl_vaopd.runs import events

START_S, END_S = 300.0, 60.0
"""How long a start may take until the step that is waited for, and a run to end after a fault."""

NUM_STEPS = 24
SMALL = (
    *("hardware=cpu", "dataset=tinygeo", "student=tiny", "teacher=tiny", "run.name=hurt"),
    *("data.train_batch_size=2", "actor_rollout_ref.rollout.n=2"),
    *("dataset.num_train=64", "dataset.num_validation=2", "dataset.num_test=2"),
    *("validation.num_questions=2", "validation.n=1", "validation.every=-1", "validation.before_train=false"),
    *("checkpoint.every=1", "dump.every=1", "dump.num_heldout_prompts=0", f"trainer.total_training_steps={NUM_STEPS}"),
)


@dataclass
class Ended:
    """How a hurt training ended.

    Attributes:
        code: the command's exit code.
        output: all that it printed.
        seconds: from the fault to the end.
        left: processes of it that are still there.
    """

    code: int
    output: str
    seconds: float
    left: list[str]


@dataclass
class Training:
    """One run directory and the command that trains in it."""

    root: Path
    overrides: tuple[str, ...] = ()
    _output: Path = field(init=False)

    def __post_init__(self) -> None:
        self._output = self.root / "output.txt"

    @property
    def run(self) -> Path:
        return self.root / "runs" / "hurt"

    @property
    def command(self) -> list[str]:
        places = (f"run.root={self.root / 'runs'}", f"dataset.root={self.root / 'tinygeo'}")
        return [sys.executable, "-m", "verl_vaopd.cli", "train", *SMALL, *places, *self.overrides]

    def last_step(self) -> int:
        """The last one that any launch has reported."""
        return max((event["step"] for event in events.steps(self.run / events.FILE_NAME)), default=0)

    def hurt(self, fault: Callable[[psutil.Process], None], when: Callable[[], bool] | None = None) -> Ended:
        """Start or resume, wait for one more step (or for `when`), do the fault, and wait for the end."""
        target = self.last_step() + 1
        with self._output.open("wb") as output:
            process = subprocess.Popen(self.command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        root = psutil.Process(process.pid)
        family: dict[int, psutil.Process] = {}
        try:
            self._wait(process, when or (lambda: self.last_step() >= target), START_S, "the step before the fault")
            family = {each.pid: each for each in root.children(recursive=True)}
            fault(root)
            hurt_at = time.monotonic()
            code = process.wait(END_S + START_S)
            seconds = time.monotonic() - hurt_at
            left = [each for each in family.values() if _is_alive(each)]
            return Ended(code, self._output.read_text(errors="replace"), seconds, [_name(each) for each in left])
        finally:
            for each in [*family.values(), root]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()

    def finish(self) -> subprocess.CompletedProcess[str]:
        """The same command, to its end."""
        return subprocess.run(self.command, capture_output=True, text=True, timeout=2 * START_S)

    def _wait(self, process: subprocess.Popen, happens: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not happens():
            assert process.poll() is None, f"it ended before {what}:\n{self._output.read_text(errors='replace')}"
            assert time.monotonic() < deadline, f"no end of waiting for {what}"
            time.sleep(0.05)


def kill(name: str) -> Callable[[psutil.Process], None]:
    """A fault: SIGKILL to the first process below the command whose title has this name in it."""

    def fault(root: psutil.Process) -> None:
        found = [each for each in root.children(recursive=True) if name in _name(each)]
        assert found, f"no process {name} among {sorted(_name(each) for each in root.children(recursive=True))}"
        os.kill(found[0].pid, signal.SIGKILL)

    return fault


def _name(process: psutil.Process) -> str:
    """What `ps` shows: Ray's workers name themselves there."""
    try:
        return " ".join(process.cmdline())[:120]
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
