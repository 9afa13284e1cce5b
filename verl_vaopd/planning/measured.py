"""What a run has measured, in the place of what a plan would assume: seconds of phases, lengths of responses."""

from __future__ import annotations

import dataclasses
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from verl_vaopd.config.errors import listing
from verl_vaopd.planning.timing import MEASURED, Seconds, Timing
from verl_vaopd.planning.workload import Responses
from verl_vaopd.runs import events
from verl_vaopd.runs.run_dir import CONFIG

SAME = (
    "student.name",
    "teacher.name",
    "teacher.placement",
    "teacher.param_offload",
    "method.name",
    "trainer.device",
    "trainer.n_gpus_per_node",
    "trainer.nnodes",
    "data.train_batch_size",
    "data.max_prompt_length",
    "data.max_response_length",
    "actor_rollout_ref.rollout.n",
)
"""Keys on which seconds depend, and in which run and plan must agree."""
PHASES = {"rollout": "rollout", "teacher": "teacher", "weight_sync": "weights", "update": "update"}
"""Phase in the metrics of a step -> phase of a plan. What else a step takes is the queue's and the driver's."""


@dataclass(frozen=True)
class Measured:
    """Of one run: medians over its steps but the first, which warms up.

    Attributes:
        run: its directory; num_steps: how many steps.
        seconds: by phase of a step, `step` included.
        responses: mean length, and the mean over steps of the longest.
        peak_memory: bytes of tensors on an accelerator at most; None where it is not known.
    """

    run: Path
    num_steps: int
    seconds: dict[str, float]
    responses: Responses
    peak_memory: float | None

    @property
    def told(self) -> str:
        """Where it is from, for a reader."""
        return f"medians of {self.num_steps} steps of {self.run}"

    def replace(self, timing: Timing) -> Timing:
        """The same timing with this run's seconds. Validations and checkpoints stay assumed."""
        known = {plan: self.seconds[phase] for phase, plan in PHASES.items() if phase in self.seconds}
        phases = [
            Seconds(phase.name, known[phase.name], MEASURED, f"{phase.seconds:.1f} would be assumed")
            for phase in timing.phases
            if phase.name in known
        ]
        if "advantage" in self.seconds:
            phases.append(Seconds("advantage", self.seconds["advantage"], MEASURED, "rewards, the initial policy"))
        rest = max(self.seconds["step"] - sum(phase.seconds for phase in phases), 0.0)
        phases.append(Seconds("rest", rest, MEASURED, "queue, driver, and what else a step took"))
        return dataclasses.replace(timing, phases=tuple(phases))


def measured_in(run: Path, cfg: DictConfig) -> Measured:
    """What a run directory holds.

    Raises:
        ValueError: no run, too few steps, or another job than the one that is planned.
    """
    if not (run / CONFIG).is_file():
        raise ValueError(f"--run: got {run}, which has no {CONFIG}; expected the directory of a run")
    theirs = OmegaConf.load(run / CONFIG)
    values = {key: (OmegaConf.select(theirs, key), OmegaConf.select(cfg, key)) for key in SAME}
    different = [f"{key}={there} there, {here} here" for key, (there, here) in values.items() if there != here]
    if different:
        raise ValueError(
            f"--run: got {run}, which is another job ({listing(different)}); expected one with the same settings, "
            "whose seconds say something about this one; give the plan the run's overrides, or leave --run away"
        )
    metrics = [event["metrics"] for event in events.steps(run / events.FILE_NAME)][1:]
    if not metrics:
        raise ValueError(f"--run: {run} has less than two steps in {events.FILE_NAME}; expected a run that has trained")
    names = {name for of_step in metrics for name in of_step}
    timed = [name.split("/")[1] for name in names if name.startswith("perf/") and name.endswith("/seconds")]
    peak = _median(metrics, "perf/max_memory_allocated_gb")
    return Measured(
        run=run,
        num_steps=len(metrics),
        seconds={phase: value for phase in timed if (value := _median(metrics, f"perf/{phase}/seconds")) is not None},
        responses=Responses(
            _median(metrics, "vaopd/response_length/mean") or 0.0,
            _median(metrics, "vaopd/response_length/max") or 0.0,
            MEASURED,
        ),
        peak_memory=None if peak is None else peak * 2**30,
    )


def _median(metrics: list[dict[str, Any]], name: str) -> float | None:
    """Over the steps that have the number."""
    values = [value for of_step in metrics if (value := of_step.get(name)) is not None]
    return statistics.median(values) if values else None
