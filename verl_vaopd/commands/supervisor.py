"""Starts the training process of a run directory, shows its events and answers for how it ends.

The training process has a session of its own, so that Ctrl-C reaches this process alone, which passes it on: first as
the signal itself, then, if the child has not ended after a grace period or at a second Ctrl-C, by killing its process
group. Imports no torch.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from verl_vaopd.commands.console import Console
from verl_vaopd.disk import free_bytes, size
from verl_vaopd.platform.temporary import temporary_directories
from verl_vaopd.runs import events
from verl_vaopd.runs.causes import error_excerpt
from verl_vaopd.runs.checkpoints import latest_complete
from verl_vaopd.runs.parent_watch import PARENT_VARIABLE, die_with_parent
from verl_vaopd.runs.run_dir import CHECKPOINTS, LOG, RunDir, discard, is_finished

TRAINING_PROCESS = (sys.executable, "-m", "verl_vaopd.trainer.main")
GRACE_S = 60.0
_SCARCE = 4 << 20  # bytes
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Supervisor:
    """The training process and the signals meant for it. Use as a context manager: nothing of it is left behind."""

    def __init__(self, run_dir: RunDir, command: Sequence[str], grace_s: float = GRACE_S):
        self._command = [*command, "--run-dir", str(run_dir.path)]
        self._run_dir = run_dir
        self._grace_s = grace_s
        self._received: list[int] = []
        self._forwarded = 0
        self._kill_at: float | None = None

    def __enter__(self) -> "Supervisor":
        self._left = contextlib.ExitStack()
        own = self._left.enter_context(temporary_directories())
        self._handlers = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        parent = os.getpid()
        with (self._run_dir.path / LOG).open("ab") as log:
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **own.environment, "PYTHONUNBUFFERED": "1", PARENT_VARIABLE: str(parent)},
                start_new_session=True,
                # The child holds the lock too: if this process is killed, no other one starts before the child ended.
                pass_fds=[self._run_dir.lock, *own.locks],
                # Safe here: this process has no other thread at the time of the fork.
                preexec_fn=lambda: die_with_parent(parent),
            )
        return self

    def __exit__(self, *exception: object) -> None:
        self._kill()
        self._child.wait()
        self._left.close()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    @property
    def interrupted(self) -> int | None:
        """The first signal this process received, if any."""
        return self._received[0] if self._received else None

    def alive(self) -> bool:
        """Whether the child runs; hands on signals received since the last call."""
        if self._child.poll() is not None:
            return False
        for number in self._received[self._forwarded :]:
            if self._forwarded == 0:
                self._child.send_signal(number)
                self._kill_at = time.monotonic() + self._grace_s
            else:
                self._kill_at = time.monotonic()
            self._forwarded += 1
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._kill()
        return True

    def returncode(self) -> int:
        """Of the ended child: negative for the signal that killed it."""
        return self._child.wait()

    def _receive(self, number: int, frame: object) -> None:
        self._received.append(number)

    def _kill(self) -> None:
        """Kill whatever is left of the child's process group, which nothing else is in."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)


def run(run_dir: RunDir, console: Console, command: Sequence[str] = TRAINING_PROCESS, grace_s: float = GRACE_S) -> int:
    """Train until the child ends; print why if it did not finish.

    Returns the exit code for the user: 0 finished, 128 + N stopped by signal N, 1 failed.
    Raises ValueError if the child refused the run before it began; its directory is removed then, unless it is older.
    """
    log = run_dir.path / LOG
    log_start = log.stat().st_size if log.exists() else 0
    offset = events.end_of(run_dir.path / events.FILE_NAME)
    with Supervisor(run_dir, command, grace_s) as supervisor:

        def alive() -> bool:
            console.tick()
            return supervisor.alive()

        refused = None
        for event in events.follow(run_dir.path / events.FILE_NAME, alive, offset):
            console.show(event)
            refused = event["text"] if event["kind"] == "refused" else refused
        returncode = supervisor.returncode()
    console.close()
    if refused is not None:
        discard(run_dir)
        raise ValueError(refused)
    if is_finished(run_dir.path):
        if returncode != 0:
            console.print(f"warning: training is finished, but its process ended with {_ending(returncode)}; see {log}")
        return 0
    if supervisor.interrupted is not None:
        console.print(f"Stopped by {signal.Signals(supervisor.interrupted).name}. {_resume_hint(run_dir.path)}")
        return 128 + supervisor.interrupted
    console.print(f"Training failed: its process ended with {_ending(returncode)}. From the end of its log:")
    console.print()
    for line in error_excerpt(log, log_start):
        console.print(f"    {line}")
    console.print()
    for line in disk_warning(run_dir.path):
        console.print(line)
    console.print(f"whole log: {log}")
    console.print(_resume_hint(run_dir.path))
    return 1


def disk_warning(path: Path) -> list[str]:
    """A line if the disk is so full that the cause of a failure may not even have reached the log."""
    free = free_bytes(path)
    if free >= _SCARCE:
        return []
    return [
        f"The disk of {path} has {size(free)} free: that may be why, even if the log does not say so. Free some space, "
        "or name another place with run.root=..."
    ]


def _ending(returncode: int) -> str:
    if returncode >= 0:
        return f"exit code {returncode}"
    number = -returncode
    reason = " (often: out of memory)" if number == signal.SIGKILL else ""
    return f"signal {signal.Signals(number).name}{reason}"


def _resume_hint(path: Path) -> str:
    checkpoint = latest_complete(path / CHECKPOINTS)
    where = (
        "from the beginning: there is no complete checkpoint yet" if checkpoint is None else f"after {checkpoint.name}"
    )
    return f"The same command again resumes {where}."
