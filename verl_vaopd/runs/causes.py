"""Why a process died: the lines of its log, or the one sentence of an error, that say it best. No torch is imported."""

import re
from collections.abc import Sequence
from pathlib import Path

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_RAY_PREFIX = re.compile(r"^\((?:raylet|(?:[^()\s]+ )?(?:pid|ip)=[^)]*)\)\s?")
_TRACEBACK = "Traceback (most recent call last)"
# The line that ends a traceback: `ValueError: ...`, `torch.OutOfMemoryError: ...`, `KeyboardInterrupt`.
_ERROR = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Died|Timeout|Full)\b(?:\(\w+\))?(?::|$)")
# Ray ends the process that it serves without a traceback, and then prints hundreds of lines about its own state.
_RAYLET_DIED = re.compile(r"Raylet is terminated\..*")
LONGEST = 400  # characters of a line or a cause; what is left out is in the log


def error_excerpt(log: Path, start: int = 0, limit: int = 20) -> list[str]:
    """The lines of a log that best say why a process died, at most `limit`.

    What Ray says of the death of its raylet, without which nothing goes on; otherwise the last traceback of the
    training process itself if there is one (it includes what a Ray worker raised), otherwise the last traceback of any
    of its workers, otherwise the end of the log.

    Args:
        log: text; colours and Ray's `(name pid=1)` prefixes are removed, long lines are cut.
        start: byte position where this launch began.
    """
    with log.open("rb") as file:
        file.seek(start)
        raw = _lines(file.read().decode(errors="replace"))
    if died := [said[0] for line in raw if (said := _RAYLET_DIED.search(line))]:
        return [_cut(died[-1])]
    own = [line for line in raw if not _RAY_PREFIX.match(line)]
    for lines in (own, [_RAY_PREFIX.sub("", line) for line in raw]):
        found = _last_traceback(lines)
        if found:
            return [_cut(line) for line in found[-limit:]]
    return [_cut(line) for line in raw[-limit:]]


def cause_in(log: Path, start: int = 0) -> str:
    """One line of a log that says why its process died: the last error of its last traceback, or its last line."""
    lines = error_excerpt(log, start)
    errors = [number for number, line in enumerate(lines) if _ERROR.match(line)]
    return _cut(" ".join(lines[errors[-1] if errors else -1 :])) if lines else "it wrote nothing"


def short_cause(text: str) -> str:
    """One line of an error's text: of a traceback that is passed on (Ray's) its last error, otherwise the whole."""
    lines = [_RAY_PREFIX.sub("", line) for line in _lines(text)]
    errors = [number for number, line in enumerate(lines) if _ERROR.match(line)]
    passed_on = any(line.lstrip().startswith('File "') or _TRACEBACK in line for line in lines)
    said = lines[errors[-1] :] if passed_on and errors else lines
    return _cut(" ".join(" ".join(said).split()))


def _last_traceback(lines: Sequence[str]) -> list[str]:
    begins = [number for number, line in enumerate(lines) if _TRACEBACK in line]
    if not begins:
        return []
    ends = [number for number in range(begins[-1], len(lines)) if _ERROR.match(lines[number])]
    # A message of several lines goes on after its first.
    last = ends[-1] + 5 if ends else len(lines)
    return list(lines[begins[-1] : last + 1])


def _lines(text: str) -> list[str]:
    return [line for line in (_ANSI.sub("", line).rstrip() for line in text.splitlines()) if line]


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."
