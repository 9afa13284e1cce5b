"""A plan as a table for people, and as JSON."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from typing import Any

from verl_vaopd.planning.gpus import GB
from verl_vaopd.planning.memory import count
from verl_vaopd.planning.plan import Plan
from verl_vaopd.planning.timing import ASSUMED, MEASURED

WIDTH = 118
CAVEAT = "Estimates, not measured on a GPU"
_HOUR = 3600.0
_TIGHT = 0.9
"""Share of a GPU's memory from which an estimate is too rough to be sure."""


def as_text(plan: Plan, title: str, advice: Sequence[str]) -> str:
    """About 40 lines.

    Args:
        title: what was planned, in the user's words.
        advice: overrides with which it would fit; empty where it does, or where none were found.
    """
    gpus = f"{plan.work.ranks} x {plan.gpu.name}"
    return "\n".join(
        [
            *_wrapped("plan", title),
            *_wrapped("", f"{CAVEAT}{_but_for_the_run(plan)}. GB are 10^9 bytes."),
            f"models   student of {count(plan.student.parameters)} parameters, teacher of "
            f"{count(plan.teacher.parameters)}; {plan.work.rollouts} rollouts a step, {gpus} ({plan.gpu.source})",
            *_wrapped("verdict", verdict(plan, advice)),
            "",
            *_memory(plan),
            "",
            *_seconds(plan),
            "",
            *_run(plan),
            "",
            *_wrapped("assumed", f"{'; '.join(_assumed(plan))}."),
        ]
    )


def verdict(plan: Plan, advice: Sequence[str]) -> str:
    """Whether it fits, where it is tightest, and what to change if it does not."""
    memory, gpu = plan.memory, plan.gpu
    phase = memory.peak
    tightest = f"{phase} needs {memory.total(phase) / GB:.1f} of {memory.limit / GB:.1f} GB a GPU ({gpu.name})"
    if memory.fits:
        tightly = " TIGHTLY" if memory.total(phase) > _TIGHT * memory.limit else ""
        return f"fits{tightly}: at most, {tightest}"
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


def _wrapped(name: str, text: str) -> list[str]:
    """A paragraph beside its name."""
    wrapper = textwrap.TextWrapper(WIDTH, initial_indent=f"{name:9}", subsequent_indent=" " * 9)
    wrapper.break_on_hyphens = wrapper.break_long_words = False  # paths and overrides stay whole
    return wrapper.wrap(text)


def _but_for_the_run(plan: Plan) -> str:
    return f", but for what is marked {MEASURED}: {plan.measured.told}" if plan.measured else ""


def _memory(plan: Plan) -> list[str]:
    memory = plan.memory
    phases = memory.phases
    # Tiny models would be columns of zeros.
    unit, scale, digits = ("GB", GB, 1) if plan.student.parameters >= 1e8 else ("MB", 1e6, 0)

    def row(name: str, values: Sequence[float | None], how: str) -> str:
        cells = "".join(" " * 9 if value is None else f"{value / scale:9.{digits}f}" for value in values)
        return f"{name:18}{cells}  {how}"

    return [
        f"{f'memory a GPU, {unit}':18}" + "".join(f"{phase:>9}" for phase in phases),
        *(row(line.name, [line.bytes.get(phase) for phase in phases], line.how) for line in memory.lines),
        row("sum", [memory.total(phase) for phase in phases], f"of {memory.limit / scale:.{digits}f}"),
        *_peak(plan),
    ]


def _peak(plan: Plan) -> list[str]:
    if plan.measured is None or plan.measured.peak_memory is None:
        return []
    return [f"{MEASURED} peak of the student's process {plan.measured.peak_memory / GB:.1f} GB, vLLM not included"]


def _seconds(plan: Plan) -> list[str]:
    lines = ["seconds a step"]
    for phase in plan.timing.phases:
        lines.append(f"{phase.name:18}{phase.seconds:9.1f}  {phase.source:8}  {phase.how}")
    return [*lines, f"{'sum':18}{plan.timing.step:9.1f}"]


def _run(plan: Plan) -> list[str]:
    work, timing, disk, traffic = plan.work, plan.timing, plan.disk, plan.traffic
    rows = "" if work.num_rows is None else f" ({work.num_rows:,} rows, {work.rows_source})"
    responses = work.responses
    return [
        f"run      {plan.seconds / _HOUR:.1f} hours: {work.steps:,} steps{rows}, {work.validations} validations of "
        f"{timing.validation:.0f} s, {work.checkpoints} checkpoints of {timing.checkpoint:.0f} s",
        f"tokens   prompts of {work.prompt_tokens:.0f}, {work.image_tokens:.0f} of them image; responses of "
        f"{responses.mean:.0f}, the longest of {responses.longest:.0f} ({responses.source}); "
        f"vLLM's cache holds {plan.memory.cache_tokens:,.0f}",
        f"disk     {disk.total / GB:.0f} GB: {disk.kept} checkpoints of {disk.checkpoint / GB:.1f}, "
        f"token dumps {disk.dumps / GB:.2f}",
        f"traffic  a step: {traffic.queue / GB:.2g} GB into and out of the queue, {traffic.sync / GB:.2g} GB of "
        "weights to vLLM on every GPU",
    ]


def _assumed(plan: Plan) -> list[str]:
    """Assumptions that this plan makes: those that a measurement or the user has replaced are not among them."""
    return plan.assumed.told(() if plan.work.responses.source == ASSUMED else ("response_mean", "response_longest"))
