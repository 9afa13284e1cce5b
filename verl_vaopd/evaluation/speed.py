"""How fast responses are sampled, and how much of that time there was nothing to do.

speed.jsonl in a run's directory has one line for every process that sampled:

    seconds            from the first question that is asked for to the last response that is stored
    num_responses
    num_tokens         of the responses; prompts do not count
    tokens_per_second
    engine_idle_frac   share of the time in which no sample was unfinished, as this process sees it: what ends while a
                       question is being prepared counts as unfinished until the process looks again
    engine_full_frac   mean number of unfinished samples, as a share of those that can run at a time; more count as all
    gpu_idle_frac      mean over the engine's GPUs of the share of time in which no kernel ran, as nvidia-smi says every
                       five seconds; a kernel that uses little of a GPU counts like one that uses all of it

null: not measured.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from verl_vaopd.disk import told_if_full
from verl_vaopd.evaluation.sources.occupancy import Occupancy
from verl_vaopd.evaluation.sources.source import Response
from verl_vaopd.evaluation.storage import encode

SPEED = "speed.jsonl"
_PERIOD = 5.0


class GpuIdle:
    """Asks nvidia-smi every now and then, as long as it is entered.

    Args:
        num_gpus: the first so many of the visible ones; 0: nothing is asked.
        period: seconds between two times.
    """

    def __init__(self, num_gpus: int, period: float = _PERIOD) -> None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(num_gpus)))
        self._command = ["nvidia-smi", f"--id={','.join(visible.split(',')[:num_gpus])}"]
        self._command += ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        self._period = period
        self._busy: list[int] = []
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True) if num_gpus else None

    def __enter__(self) -> GpuIdle:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._left.set()
        if self._thread is not None:
            self._thread.join()

    @property
    def idle_frac(self) -> float | None:
        """None: not measured (no GPU, or one that is cut in parts, of which nvidia-smi does not know)."""
        return 1.0 - sum(self._busy) / len(self._busy) / 100.0 if self._busy else None

    def _watch(self) -> None:
        while not self._left.wait(self._period):
            with suppress(subprocess.TimeoutExpired):
                told = subprocess.run(self._command, capture_output=True, text=True, check=False, timeout=60).stdout
                self._busy.extend(int(line) for line in told.splitlines() if line.strip().isdigit())


def require_own_speed(path: Path) -> None:
    """Raise ValueError if a file of that name is something else: no line is added to it."""
    if not path.exists():
        return
    first = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0] if path.is_file() else "a directory"
    if first and "tokens_per_second" not in first:
        raise ValueError(
            f"{path}: got {first[:60]!r}, expected the speed of earlier processes, or no such file; move it away, or "
            "name another directory with out="
        )


class Speed:
    """Counts responses as long as it is entered, and then adds a line to speed.jsonl.

    Args:
        path: of the file.
        occupancy: of the responses' source; None: they were not sampled, and no line is written.
        num_gpus: that the source uses.
    """

    def __init__(self, path: Path, occupancy: Occupancy | None, num_gpus: int) -> None:
        self._path, self._occupancy, self._gpus = path, occupancy, GpuIdle(num_gpus)
        self._num_responses = 0
        self._num_tokens: int | None = None
        self._seconds: float | None = None

    def __enter__(self) -> Speed:
        self._gpus.__enter__()
        self._start = time.monotonic()
        return self

    def __exit__(self, *exception: object) -> None:
        self._seconds = time.monotonic() - self._start
        self._gpus.__exit__(*exception)
        if self._occupancy is not None:
            with told_if_full(self._path), self._path.open("a", encoding="utf-8") as file:
                file.write(encode(self._row(self._seconds, self._occupancy)))

    def add(self, responses: Iterable[Response]) -> None:
        """They are stored."""
        for response in responses:
            self._num_responses += 1
            if response.num_tokens is not None:
                self._num_tokens = (self._num_tokens or 0) + response.num_tokens

    def rate(self) -> str:
        """So far, or of all the time once it is left."""
        if self._num_tokens is None:
            return "tokens not counted"
        seconds = time.monotonic() - self._start if self._seconds is None else self._seconds
        return f"{self._num_tokens / seconds:.0f} tokens/s"

    def __str__(self) -> str:
        assert self._seconds is not None and self._occupancy is not None
        shares = {
            "engine idle": self._occupancy.idle_frac,
            "its places in use": self._occupancy.full_frac,
            "GPU idle": self._gpus.idle_frac,
        }
        told = (f"{name} {'not measured' if frac is None else f'{100 * frac:.1f} %'}" for name, frac in shares.items())
        return f"{self._num_responses} responses in {self._seconds:.0f} s: {self.rate()}; {', '.join(told)}"

    def _row(self, seconds: float, occupancy: Occupancy) -> dict[str, Any]:
        return {
            "seconds": seconds,
            "num_responses": self._num_responses,
            "num_tokens": self._num_tokens,
            "tokens_per_second": None if self._num_tokens is None else self._num_tokens / seconds,
            "engine_idle_frac": occupancy.idle_frac,
            "engine_full_frac": occupancy.full_frac,
            "gpu_idle_frac": self._gpus.idle_frac,
        }
