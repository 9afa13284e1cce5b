"""What the checks that start nothing have found, for a reader and in the record of a run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from verl_vaopd.config.preflight import Finding
from verl_vaopd.runs.events import FILE_NAME, EventLog

WHEN = "before anything starts"


def record(
    run: Path,
    found: Iterable[Finding],
    waived: Collection[str],
    show: Callable[[dict[str, Any]], None] = lambda event: None,
) -> None:
    """Write every finding into the events of a run, waivers included.

    Args:
        show: is given every event, as the console takes it.
    """
    with EventLog(run / FILE_NAME) as events:
        for event in as_events(found, waived):
            events.write(**event)
            show(event)


def as_events(found: Iterable[Finding], waived: Collection[str]) -> list[dict[str, Any]]:
    """The events `preflight` of these findings."""
    return [
        {
            "kind": "preflight",
            "check": finding.check,
            "when": WHEN,
            "measured": finding.measured,
            "outcome": finding.outcome(waived),
            **({"fix": finding.fix} if finding.fix else {}),
        }
        for finding in found
    ]
