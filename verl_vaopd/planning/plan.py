"""The plan of a job: memory, seconds, hours, disk, traffic, and whether it fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import DictConfig

from verl_vaopd.planning.assumptions import Assumptions
from verl_vaopd.planning.gpus import GpuModel, default_gpu
from verl_vaopd.planning.measured import Measured
from verl_vaopd.planning.memory import Memory, memory_of
from verl_vaopd.planning.shapes import Shape, shape_of
from verl_vaopd.planning.timing import Clock, Timing
from verl_vaopd.planning.volumes import Disk, Traffic, disk_of, traffic_of
from verl_vaopd.planning.workload import Responses, Workload, workload_of
from verl_vaopd.platform import Gpu


@dataclass(frozen=True)
class Plan:
    """Estimates for one job; nothing of it was measured unless it says so."""

    student: Shape
    teacher: Shape
    gpu: GpuModel
    work: Workload
    memory: Memory
    timing: Timing
    traffic: Traffic
    disk: Disk
    assumed: Assumptions
    measured: Measured | None

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        work, timing = self.work, self.timing
        steps = work.steps * timing.step
        return self.assumed.start + steps + work.validations * timing.validation + work.checkpoints * timing.checkpoint


def predict(
    cfg: DictConfig,
    gpu: GpuModel | None = None,
    responses: Responses | None = None,
    measured: Measured | None = None,
    here: Sequence[Gpu] = (),
) -> Plan:
    """What a job will need. Starts nothing, needs no GPU, reads no weights.

    Args:
        cfg: from `compose`; whether it is valid is `validate`'s matter.
        gpu: what it runs on; None: see gpus.default_gpu.
        responses: lengths, instead of the assumed or measured ones.
        measured: what a run of this job has measured.
        here: the GPUs of this machine, where the job would run on them.
    Raises:
        ValueError: models of another architecture or of unknown shape, a number of steps that nothing tells.
    """
    assumed = Assumptions()
    student, teacher = shape_of(cfg.student.path), shape_of(cfg.teacher.path)
    gpu = gpu or default_gpu(cfg, here)
    work = workload_of(cfg, student, assumed, responses or (measured.responses if measured else None))
    memory = memory_of(cfg, student, teacher, work, gpu, assumed)
    traffic, disk = traffic_of(cfg, student, teacher, work), disk_of(cfg, student, work, assumed)
    timing = Clock(cfg, student, teacher, work, gpu, assumed, memory.cache_tokens, traffic).timing(disk.checkpoint)
    if measured is not None:
        timing = measured.replace(timing)
    return Plan(student, teacher, gpu, work, memory, timing, traffic, disk, assumed, measured)
