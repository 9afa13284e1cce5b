"""Memory and speed of a GPU: its data sheet's, or of a GPU of this machine what nvidia-smi says of the memory."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import DictConfig

from verl_vaopd.platform import Gpu

GB = 1e9


@dataclass(frozen=True)
class GpuModel:
    """What a plan reckons with, per GPU.

    Attributes:
        name: as `--gpu` takes it.
        memory: bytes.
        flops: dense bf16 floating-point operations per second.
        bandwidth: bytes per second of its memory.
        link: bytes per second to the other GPUs of its machine, one direction.
        host_link: bytes per second to main memory, one direction.
        source: where the numbers are from.
    """

    name: str
    memory: float
    flops: float
    bandwidth: float
    link: float
    host_link: float
    source: str


def _data_sheet(name: str, memory: float, tflops: float, gb_per_s: float, nvlink: float, pcie: float) -> GpuModel:
    return GpuModel(name, memory * GB, tflops * 1e12, gb_per_s * GB, nvlink * GB, pcie * GB, "NVIDIA's data sheet")


GPUS = {
    gpu.name: gpu
    for gpu in (
        # NVIDIA A100 80GB SXM (datasheet nvidia-a100-datasheet-us-nvidia-1758950): 312 TFLOPS bf16, 2,039 GB/s,
        # NVLink 600 and PCIe Gen4 64 GB/s in both directions together.
        _data_sheet("a100-80gb", 80, 312, 2039, 300, 32),
        # NVIDIA H100 SXM: 80 GB, 1,979 TFLOPS bf16 with sparsity, half of it without, 3.35 TB/s, NVLink 900, PCIe 128.
        _data_sheet("h100", 80, 989, 3350, 450, 64),
        # NVIDIA H200 SXM: 141 GB, 4.8 TB/s, otherwise as the H100.
        _data_sheet("h200", 141, 989, 4800, 450, 64),
    )
}
CPU = "cpu"
OF_RECIPES = {"a100x8": "a100-80gb", "h100x1": "h100", "h200x1": "h200", "cpu": CPU}
"""Recipe of the group `hardware` -> the GPU that it is written for."""
_SMALLEST = "a100-80gb"


def gpu_named(name: str, ranks: int = 1) -> GpuModel:
    """A GPU of GPUS, or `cpu`: this machine's main memory, shared by the ranks; its speed is a guess.

    Raises:
        ValueError: another name.
    """
    if name == CPU:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / ranks
        return GpuModel(CPU, memory, 0.1e12, 10 * GB, 10 * GB, 10 * GB, "main memory; speed guessed")
    if name not in GPUS:
        raise ValueError(f"--gpu: got {name}, expected one of {', '.join((*GPUS, CPU))}")
    return GPUS[name]


def default_gpu(cfg: DictConfig, here: Sequence[Gpu], recipe: str | None = None) -> GpuModel:
    """What a job runs on, if nobody says so: this machine's GPUs, else those of the recipe, else the smallest known.

    Args:
        here: the GPUs of this machine; a job takes the smallest for the measure of all.
        recipe: of the group `hardware`.
    """
    ranks = cfg.trainer.n_gpus_per_node
    if cfg.trainer.device == "cpu":
        return gpu_named(CPU, ranks)
    named = gpu_named(OF_RECIPES.get(recipe or "", _SMALLEST))
    if not here:
        return named
    least = min(here, key=lambda gpu: gpu.memory_mib)
    known = next((gpu for gpu in GPUS.values() if gpu.name.partition("-")[0].upper() in least.name.upper()), named)
    source = f"nvidia-smi ({least.name}); speed: {known.name}, {known.source}"
    return dataclasses.replace(known, memory=least.memory_mib * 2.0**20, source=source)
