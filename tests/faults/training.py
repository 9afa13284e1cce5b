"""A small training that is started, hurt and started again, as a person sees it: its output, its end, its steps."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.e2e.conftest import overrides_in
from verl_vaopd.runs import events
from verl_vaopd.runs.checkpoints import complete_steps

START_S = 300.0
"""How long a start may take until the step that is waited for."""
END_S = 60.0
"""How long a run may take to end after a fault."""
OUTPUT, NAME = "output.txt", "hurt"
SMALLER = (
    f"run.name={NAME}",
    "data.train_batch_size=2",
    "actor_rollout_ref.rollout.n=2",
    "preflight.num_prompts=1",
    "validation.every=-1",
    "validation.before_train=false",
    "checkpoint.every=1",
    "dump.num_train_rollouts=4",
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
    """A run directory and the command that trains in it."""

    root: Path
    num_steps: int
    overrides: tuple[str, ...] = ()

    @property
    def run(self) -> Path:
        return self.root / "runs" / NAME

    @property
    def command(self) -> list[str]:
        own = (f"trainer.total_training_steps={self.num_steps}", *self.overrides)
        return [sys.executable, "-m", "verl_vaopd.cli", "train", *overrides_in(self.root, *SMALLER, *own)]

    def steps(self) -> list[int]:
        """All that any launch has reported."""
        return [event["step"] for event in events.steps(self.run / events.FILE_NAME)]

    def checkpoints(self) -> list[int]:
        return complete_steps(self.run / "checkpoints")

    def hurt(self, fault: Callable[[psutil.Process], None], when: Callable[[], bool] | None = None) -> Ended:
        """Start or resume, wait for two more steps (or for `when`), do the fault, and wait for the end."""
        before = self.steps()
        output_file = self.root / OUTPUT
        with output_file.open("wb") as output:
            process = subprocess.Popen(self.command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        root = psutil.Process(process.pid)
        family: list[psutil.Process] = []
        try:
            deadline = time.monotonic() + START_S
            while not (when() if when else max(self.steps(), default=0) >= max(before, default=0) + 2):
                assert process.poll() is None, f"it ended before the fault:\n{output_file.read_text(errors='replace')}"
                assert time.monotonic() < deadline, "it did not get to the fault"
                time.sleep(0.02)
            family = root.children(recursive=True)
            fault(root)
            hurt_at = time.monotonic()
            code = process.wait(END_S + START_S)
            seconds = time.monotonic() - hurt_at
            _gone, left = psutil.wait_procs(family, timeout=END_S)
            return Ended(code, output_file.read_text(errors="replace"), seconds, [title(each) for each in left])
        finally:
            for each in [root, *family]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()

    def finish(self, *before: str) -> subprocess.CompletedProcess[str]:
        """The same command, to its end; `before` is a command that runs it."""
        return subprocess.run([*before, *self.command], capture_output=True, text=True, timeout=2 * START_S)


def kill(name: str) -> Callable[[psutil.Process], None]:
    """A fault: SIGKILL to the first process below the command with this in its title."""

    def fault(root: psutil.Process) -> None:
        found = [each for each in root.children(recursive=True) if name in title(each)]
        assert found, f"no process {name} among {sorted(title(each) for each in root.children(recursive=True))}"
        os.kill(found[0].pid, signal.SIGKILL)

    return fault


def title(process: psutil.Process) -> str:
    """What `ps` shows: Ray's and vLLM's processes name themselves there."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())[:120]
    return ""
