"""Starts the training process of a run directory, shows its events and answers for how it ends.

The training process has a session of its own, so that Ctrl-C reaches this process alone, which passes it on: first as
the signal itself, then, if the child has not ended after a grace period or at a second Ctrl-C, by killing its process
group. Imports no torch.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from verl_vaopd.commands.console import Console
from verl_vaopd.runs import events
from verl_vaopd.runs.checkpoints import latest_complete
from verl_vaopd.runs.parent_watch import PARENT_VARIABLE, die_with_parent
from verl_vaopd.runs.run_dir import CHECKPOINTS, LOG, RunDir, is_finished

TRAINING_PROCESS = (sys.executable, "-m", "verl_vaopd.trainer.main")
GRACE_S = 60.0
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
        self._handlers = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        parent = os.getpid()
        with (self._run_dir.path / LOG).open("ab") as log:
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", PARENT_VARIABLE: str(parent)},
                start_new_session=True,
                # The child holds the lock too: if this process is killed, no other one starts before the child ended.
                pass_fds=[self._run_dir.lock],
                # Safe here: this process has no other thread at the time of the fork.
                preexec_fn=lambda: die_with_parent(parent),
            )
        return self

    def __exit__(self, *exception: object) -> None:
        self._kill()
        self._child.wait()
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
    """
    log = run_dir.path / LOG
    log_start = log.stat().st_size if log.exists() else 0
    offset = events.end_of(run_dir.path / events.FILE_NAME)
    with Supervisor(run_dir, command, grace_s) as supervisor:

        def alive() -> bool:
            console.tick()
            return supervisor.alive()

        for event in events.follow(run_dir.path / events.FILE_NAME, alive, offset):
            console.show(event)
        returncode = supervisor.returncode()
    console.close()
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
    console.print(f"whole log: {log}")
    console.print(_resume_hint(run_dir.path))
    return 1


_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_RAY_PREFIX = re.compile(r"^\((?:raylet|(?:[^()\s]+ )?(?:pid|ip)=[^)]*)\)\s?")
_TRACEBACK = "Traceback (most recent call last)"
# The line that ends a traceback: `ValueError: ...`, `torch.OutOfMemoryError: ...`, `KeyboardInterrupt`.
_ERROR = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Died|Timeout)\b(?:\(\w+\))?(?::|$)")


def error_excerpt(log: Path, start: int = 0, limit: int = 20) -> list[str]:
    """The lines of a log that best say why a process died, at most `limit`.

    The last traceback of the training process itself if there is one (it includes what a Ray worker raised), otherwise
    the last traceback of any of its workers, otherwise the end of the log.

    Args:
        log: text; colours and Ray's `(name pid=1)` prefixes are removed.
        start: byte position where this launch began.
    """
    with log.open("rb") as file:
        file.seek(start)
        raw = [_ANSI.sub("", line).rstrip() for line in file.read().decode(errors="replace").splitlines()]
    raw = [line for line in raw if line]
    own = [line for line in raw if not _RAY_PREFIX.match(line)]
    for lines in (own, [_RAY_PREFIX.sub("", line) for line in raw]):
        begins = [number for number, line in enumerate(lines) if _TRACEBACK in line]
        if not begins:
            continue
        ends = [number for number in range(begins[-1], len(lines)) if _ERROR.match(lines[number])]
        # A message of several lines goes on after its first.
        last = ends[-1] + 5 if ends else len(lines)
        return lines[begins[-1] : last + 1][-limit:]
    return raw[-limit:]


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
