"""What the checks that start nothing have found, for a reader and in the record of a run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from verl_vaopd.config.checks.hardware import HardwareProbe
from verl_vaopd.config.errors import ConfigError, Problem
from verl_vaopd.config.preflight import FAILED, MEMORY, Finding, NotMeasured
from verl_vaopd.planning import advise, predict, verdict
from verl_vaopd.platform import probe_gpus
from verl_vaopd.runs.events import FILE_NAME, EventLog

WHEN = "before anything starts"
_GPU_ADVICE = "`vaopd plan` with the same words shows what needs how much"


def memory(cfg: DictConfig, probe: HardwareProbe = probe_gpus) -> Finding:
    """Whether the job fits into the memory of this machine's GPUs, by the estimate of `vaopd plan`."""
    if cfg.trainer.device == "cpu":
        return Finding(MEMORY, NotMeasured("no GPU is asked for"))
    here = probe()
    if not here:
        return Finding(MEMORY, NotMeasured("no GPU on this machine, from which the job is started"))
    try:
        plan = predict(cfg, here=here)
    except ValueError as error:
        return Finding(MEMORY, NotMeasured(str(error)))
    if plan.memory.fits:
        return Finding(MEMORY, f"by an estimate, it {verdict(plan, [])}")
    advice = advise(cfg, plan)
    return Finding(MEMORY, f"by an estimate, it {verdict(plan, advice)}", False, " ".join(advice) or _GPU_ADVICE)


def require_memory(cfg: DictConfig, probe: HardwareProbe = probe_gpus) -> Finding:
    """The same. Raises ConfigError where it does not fit, unless `preflight.waive` names it."""
    finding = memory(cfg, probe)
    if finding.outcome(cfg.preflight.waive) == FAILED:
        raise ConfigError(memory_problem(finding))
    return finding


def memory_problem(finding: Finding) -> Problem:
    """A memory that does not suffice, as an error tells it."""
    return Problem(
        "the GPUs' memory would not suffice",
        got=finding.measured,
        expected="a job that fits, as far as it can be estimated",
        fix=f"{finding.fix}; or preflight.waive=[{MEMORY}], if you know better",
    )


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
