"""A plan as a table for people, and as JSON."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from typing import Any

from verl_vaopd.planning.gpus import GB
from verl_vaopd.planning.plan import Plan
from verl_vaopd.planning.timing import MEASURED

WIDTH = 118
CAVEAT = "Estimates, not measured on a GPU"
_HOUR = 3600.0


def as_text(plan: Plan, title: str, advice: Sequence[str]) -> str:
    """About 40 lines.

    Args:
        title: what was planned, in the user's words.
        advice: overrides with which it would fit; empty where it does, or where none were found.
    """
    return "\n".join(
        [
            *textwrap.wrap(f"plan of {title}", WIDTH),
            f"{CAVEAT}{_but_for_the_run(plan)}. GB are 10^9 bytes.",
            "",
            *_memory(plan),
            "",
            *_seconds(plan),
            "",
            *_run(plan),
            "",
            *textwrap.wrap(f"assumed  {'; '.join(_assumed(plan))}.", WIDTH, subsequent_indent="         "),
            "",
            *textwrap.wrap(f"verdict  {verdict(plan, advice)}", WIDTH, subsequent_indent="         "),
        ]
    )


def verdict(plan: Plan, advice: Sequence[str]) -> str:
    """Whether it fits, where it is tightest, and what to change if it does not."""
    memory, gpu = plan.memory, plan.gpu
    phase = memory.peak
    tightest = f"{phase} needs {memory.total(phase) / GB:.1f} of {memory.limit / GB:.1f} GB a GPU ({gpu.name})"
    if memory.fits:
        return f"fits: at most, {tightest}"
    if memory.total(phase) <= memory.limit:
        tightest = (
            f"vLLM's cache has room for {memory.cache_tokens:,.0f} tokens, the longest rollout has {memory.longest:,}"
        )
    fix = f"it fits with {' '.join(advice)}" if advice else "no setting was found that would do: other GPUs, or more"
    return f"DOES NOT FIT: {tightest}; {fix}"


def as_json(plan: Plan, title: str, advice: Sequence[str]) -> dict[str, Any]:
    """The same as plain values: bytes and seconds."""
    work, memory, timing = plan.work, plan.memory, plan.timing
    return {
        "what": title,
        "caveat": f"{CAVEAT}{_but_for_the_run(plan)}.",
        "fits": memory.fits,
        "verdict": verdict(plan, advice),
        "advice": list(advice),
        "gpu": dataclasses.asdict(plan.gpu),
        "parameters": {"student": plan.student.parameters, "teacher": plan.teacher.parameters},
        "memory": {
            "limit": memory.limit,
            "total": {phase: memory.total(phase) for phase in memory.phases},
            "lines": [dataclasses.asdict(line) for line in memory.lines],
            "cache_tokens": memory.cache_tokens,
            "measured_peak": plan.measured.peak_memory if plan.measured else None,
        },
        "seconds": {
            "step": timing.step,
            "phases": [dataclasses.asdict(phase) for phase in timing.phases],
            "validation": timing.validation,
            "checkpoint": timing.checkpoint,
            "run": plan.seconds,
        },
        "run": {
            "steps": work.steps,
            "rows": work.num_rows,
            "rows_source": work.rows_source,
            "validations": work.validations,
            "checkpoints": work.checkpoints,
            "responses": dataclasses.asdict(work.responses),
            "prompt_tokens": work.prompt_tokens,
        },
        "disk": {**dataclasses.asdict(plan.disk), "total": plan.disk.total},
        "traffic": {"queue": plan.traffic.queue, "weights": plan.traffic.sync},
        "assumed": _assumed(plan),
    }


def _but_for_the_run(plan: Plan) -> str:
    return f", but for what is marked {MEASURED}" if plan.measured else ""


def _memory(plan: Plan) -> list[str]:
    memory = plan.memory
    phases = memory.phases
    lines = [f"{'memory a GPU [GB]':18}" + "".join(f"{phase:>9}" for phase in phases) + "  how it follows"]
    for line in memory.lines:
        cells = "".join(f"{line.bytes[phase] / GB:9.1f}" if phase in line.bytes else " " * 9 for phase in phases)
        lines.append(f"{line.name:18}{cells}  {line.how}")
    totals = "".join(f"{memory.total(phase) / GB:9.1f}" for phase in phases)
    return [*lines, f"{'sum':18}{totals}  of {memory.limit / GB:.1f}: {plan.gpu.name}, {plan.gpu.source}", *_peak(plan)]


def _peak(plan: Plan) -> list[str]:
    if plan.measured is None or plan.measured.peak_memory is None:
        return []
    return [f"{MEASURED} peak of the student's process {plan.measured.peak_memory / GB:.1f} (vLLM not included)"]


def _seconds(plan: Plan) -> list[str]:
    lines = [f"{'seconds a step':18}{'':9}  {'':8}  how it follows"]
    for phase in plan.timing.phases:
        lines.append(f"{phase.name:18}{phase.seconds:9.1f}  {phase.source:8}  {phase.how}")
    return [*lines, f"{'sum':18}{plan.timing.step:9.1f}"]


def _run(plan: Plan) -> list[str]:
    work, timing, disk, traffic = plan.work, plan.timing, plan.disk, plan.traffic
    rows = "" if work.num_rows is None else f" ({work.num_rows:,} rows, {work.rows_source})"
    responses = work.responses
    checkpoints = f"{work.checkpoints} checkpoints of {timing.checkpoint:.0f} s"
    return [
        f"run      {work.steps:,} steps{rows}, {work.validations} validations of {timing.validation:.0f} s, "
        f"{checkpoints}: {plan.seconds / _HOUR:.1f} hours",
        f"tokens   prompts of {work.prompt_tokens:.0f} ({work.image_tokens:.0f} of the image), responses of "
        f"{responses.mean:.0f} in the mean, {responses.longest:.0f} at most ({responses.source})",
        f"cache    vLLM has room for {plan.memory.cache_tokens:,.0f} tokens a replica",
        f"disk     {disk.total / GB:.0f} GB: {disk.kept} checkpoints of {disk.checkpoint / GB:.1f}, "
        f"token dumps {disk.dumps / GB:.2f}",
        f"traffic  a step: {traffic.queue / GB:.2f} GB in and out of the queue, {traffic.sync / GB:.1f} GB of weights "
        "on every GPU to vLLM",
    ]


def _assumed(plan: Plan) -> list[str]:
    """Assumptions that this plan makes: those that a measurement or the user has replaced are not among them."""
    without = set()
    if plan.work.responses.source != "assumed":
        without |= {"response_mean_frac", "response_longest_frac"}
    return plan.assumed.told(frozenset(without))
