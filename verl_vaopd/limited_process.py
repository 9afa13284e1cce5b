"""A function in a process of its own that ends where a call goes past its limits: for work on what a model wrote.

The process is a fresh interpreter, which imports the function's module and nothing else of this one. The kernel ends it
where a call has used its processor time, whatever it is doing, and whether or not anyone still waits for it; memory
that it asks for beyond its limit it does not get. The next call starts another one. Time is the processor's, so that a
busy machine changes no result.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from verl_vaopd.algorithms.options import option

_TOO_MUCH_MEMORY, _TOO_DEEP = 101, 102
"""Exit codes."""
_START_S = 120.0
_STALLED_S = 120.0
"""Wall-clock seconds within which a process must be there, and must reply: one that was stopped uses no time."""


@dataclass
class Limits:
    """What one call may take; more ends its process."""

    max_seconds: float = option(5.0, "Processor time of one call.", unit="second", above=0)
    max_memory_mb: int = option(1024, "Memory beyond what the process has before it.", unit="MB", at_least=16)


class LimitExceededError(RuntimeError):
    """A call has ended its process; the text says which limit it went past, or which signal came."""


class LimitedProcess:
    """One function, called in a process that is started when it is needed. Not for several threads at a time.

    Args:
        module, function: what is called; arguments and result are what JSON has.
        limits: of each call.
    """

    def __init__(self, module: str, function: str, limits: Limits) -> None:
        self._command = [sys.executable, "-m", __name__, module, function]
        self._command += [str(limits.max_seconds), str(limits.max_memory_mb)]
        self._name, self._limits = f"{module}.{function}", limits
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None

    def call(self, **arguments: Any) -> Any:
        """The function's result.

        Raises:
            LimitExceededError: the call went past a limit, or its process was killed.
            RuntimeError: the process cannot start, or the function raised; its traceback is on standard error.
        """
        if self._process is None:
            self._start()
        try:
            reply = self._ask(json.dumps(arguments).encode() + b"\n", _STALLED_S)
        except TimeoutError:
            self.close()
            raise LimitExceededError(f"it did not reply within {_STALLED_S:g} s") from None
        if not reply.endswith(b"\n"):
            raise self._ended()
        return json.loads(reply)

    def close(self) -> None:
        """End the process; a later call starts another one."""
        if self._process is not None and self._channel is not None:
            self._channel.close()
            self._process.kill()
            self._process.wait()
        self._process = self._channel = None

    def __enter__(self) -> LimitedProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(self._command, stdin=theirs.fileno())
        try:
            is_there = self._ask(b"", _START_S)
        except TimeoutError:
            is_there = b""
            self._process.kill()
        if not is_there:
            code = self._process.wait()
            self.close()
            raise RuntimeError(
                f"{self._name}: got no process for it within {_START_S:g} s (exit code {code}), expected one that "
                "imports its module; standard error says why"
            )

    def _ask(self, request: bytes, timeout: float) -> bytes:
        """The line with which the process replies; less than a line where it has ended. Raises TimeoutError."""
        assert self._channel is not None
        self._channel.settimeout(timeout)
        reply = b""
        with contextlib.suppress(ConnectionError):
            self._channel.sendall(request)
            while not reply.endswith(b"\n") and (part := self._channel.recv(1 << 16)):
                reply += part
        return reply

    def _ended(self) -> RuntimeError:
        """Why there is no reply."""
        assert self._process is not None
        code = self._process.wait()
        self.close()
        if code in (-signal.SIGPROF, _TOO_MUCH_MEMORY, _TOO_DEEP):
            seconds, megabytes = self._limits.max_seconds, self._limits.max_memory_mb
            return LimitExceededError(
                {
                    -signal.SIGPROF: f"it took more than {seconds:g} s",
                    _TOO_MUCH_MEMORY: f"it took more than {megabytes} MB",
                    _TOO_DEEP: "it is nested too deeply",
                }[code]
            )
        if code < 0:
            return LimitExceededError(f"its process was ended by {signal.Signals(-code).name}")
        return RuntimeError(f"{self._name} raised an error; its traceback is on standard error (exit code {code})")


def _serve(module: str, function: str, seconds: float, megabytes: int) -> None:
    """In the process: answer calls until the other side is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is answered by the process that calls
    call = getattr(importlib.import_module(module), function)
    with open("/proc/self/statm", encoding="ascii") as sizes:
        own = int(sizes.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (own + megabytes * 10**6,) * 2)
    with socket.socket(fileno=os.dup(sys.stdin.fileno())) as channel, channel.makefile("rwb") as lines:
        lines.write(b"\n")
        lines.flush()
        while line := lines.readline():
            # SIGPROF is not caught: the kernel ends the process.
            signal.setitimer(signal.ITIMER_PROF, seconds)
            result = json.dumps(call(**json.loads(line)))
            signal.setitimer(signal.ITIMER_PROF, 0)
            lines.write(result.encode() + b"\n")
            lines.flush()


if __name__ == "__main__":
    try:
        _serve(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
    except MemoryError:
        os._exit(_TOO_MUCH_MEMORY)
    except RecursionError:
        os._exit(_TOO_DEEP)
