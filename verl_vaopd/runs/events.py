"""The event log: what a training process reports, one JSON object per line, append-only.

The training process writes it, the console and the report read it, possibly while it grows. Each record is one
`write` system call, so a killed process leaves at most one half-written last line; readers ignore that line and the
next writer cuts it off. A resumed run repeats the steps after its checkpoint: `steps` and `validations` keep the last
record of a step, the one that belongs to the weights that went on.

Steps count optimizer updates, from 1; step 0 is the state before training. Accuracies are shares in [0, 1], visual
advantages are nats per token, times are seconds since the epoch. Imports no torch.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from verl_vaopd.disk import append

FILE_NAME = "events.jsonl"

KINDS: dict[str, tuple[str, ...]] = {
    # A stage of the start-up, of a validation or of the end, named for a reader ("starting Ray"). It lasts until the
    # next event, which may be the same stage with more of it done.
    "phase": ("name",),
    # One optimizer step. metrics: {name: float}.
    "step": ("step", "total", "metrics"),
    # One pass over the held-out questions with 95 % intervals: the fields of summarise_validation, and the step.
    "validation": ("step", "accuracy", "accuracy_low", "accuracy_high", "n_questions", "n_samples", "n_missing"),
    # Written after the checkpoint of this step is complete.
    "checkpoint": ("step",),
    "warning": ("text",),
    # A check: its name, when it was made, what was measured, and the outcome (config/preflight.py).
    "preflight": ("check", "when", "measured", "outcome"),
    # One that a step has raised (alarms.py): its name, what was read with its bound, what it says, and what to try.
    "alarm": ("alarm", "step", "measured", "meaning", "fix"),
    # This run ended by an error, and the process went on with another run.
    "failed": ("text",),
    # This run was refused before it began: a user's mistake, told in one message.
    "refused": ("text",),
    # Training reached its last step and everything is on disk.
    "finished": (),
}
OPTIONAL: dict[str, tuple[str, ...]] = {
    # How much of the stage is done.
    "phase": ("done", "total"),
    # What to do about it.
    "preflight": ("fix",),
    # Visual advantage, where it was computed; the same fields of further splits, by split; metrics: {name: float}.
    "validation": ("mean_va", "mean_va_low", "mean_va_high", "other_splits", "metrics"),
}


class EventLog:
    """Writes events; use as a context manager or close it.

    Raises ValueError for an unknown kind, a missing field of `KINDS` or one that is neither there nor in `OPTIONAL`.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        _cut_half_written_line(self.path)
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, kind: str, **fields: Any) -> None:
        """Append one event. Tensor and numpy scalars are written as numbers, NaN and infinities as JSON null.

        A metric that is null in the log was computed and was not finite; one that is absent was not computed.
        """
        if kind not in KINDS:
            raise ValueError(f"event kind: got {kind!r}, expected one of {', '.join(KINDS)}")
        required, optional = set(KINDS[kind]), set(OPTIONAL.get(kind, ()))
        if not required <= fields.keys() <= required | optional:
            raise ValueError(
                f"event {kind!r}: got fields {sorted(fields)}, expected {sorted(required)}, optional {sorted(optional)}"
            )
        record = {
            "kind": kind,
            "time": round(time.time(), 3),
            **{name: _plain(value) for name, value in fields.items()},
        }
        line = json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
        append(self._descriptor, line.encode(), self.path)

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """All complete events of a log, in order of writing; an absent file has none.

    Raises ValueError for a complete line that is not JSON, which no crash produces.
    """
    path = Path(path)
    return _parse(path.read_bytes(), path)[0] if path.exists() else []


def steps(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The last `step` event of every step, by step."""
    return _last_per_step(read(path), "step")


def validations(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The last `validation` event of every step, by step."""
    return _last_per_step(read(path), "validation")


def follow(
    path: str | os.PathLike[str], alive: Callable[[], bool], offset: int = 0, poll_interval: float = 0.2
) -> Iterator[dict[str, Any]]:
    """Yield events as they are written, until `alive` says False and nothing more is in the file.

    Args:
        alive: asked once per poll whether the writer still runs.
        offset: byte position to start from; the end of the file (see `end_of`) skips what an earlier launch wrote.
        poll_interval: seconds between two looks at the file.
    """
    path = Path(path)
    while True:
        # Asked before reading: what the writer wrote before it ended is in the file by the time this says False.
        writing = alive()
        if path.exists():
            with path.open("rb") as file:
                file.seek(offset)
                events, length = _parse(file.read(), path)
            offset += length
            yield from events
        if not writing:
            return
        time.sleep(poll_interval)


def end_of(path: str | os.PathLike[str]) -> int:
    """Bytes of complete lines in the log: where the next event will start."""
    path = Path(path)
    return path.read_bytes().rfind(b"\n") + 1 if path.exists() else 0


def _parse(content: bytes, path: Path) -> tuple[list[dict[str, Any]], int]:
    """Events of the complete lines of `content`, and their length in bytes."""
    length = content.rfind(b"\n") + 1
    try:
        return [json.loads(line) for line in content[:length].splitlines()], length
    except ValueError as error:
        raise ValueError(f"{path}: got a line that is not JSON ({error}); expected one object per line") from error


def _last_per_step(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    last = {event["step"]: event for event in events if event["kind"] == kind}
    return [last[step] for step in sorted(last)]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if value is None or isinstance(value, bool | int | str):
        return value
    if not isinstance(value, float):
        value = value.item() if hasattr(value, "item") else float(value)
    return value if not isinstance(value, float) or math.isfinite(value) else None


def _cut_half_written_line(path: Path) -> None:
    complete = end_of(path)
    if path.exists() and complete < path.stat().st_size:
        os.truncate(path, complete)
