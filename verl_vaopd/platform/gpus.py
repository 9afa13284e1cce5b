"""The GPUs of this machine, by nvidia-smi. Imports neither torch nor verl."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

PROBE_TIMEOUT_S = 8


@dataclass(frozen=True)
class Gpu:
    """One GPU of this machine."""

    name: str
    memory_mib: int


def driver_version() -> str | None:
    """Of the NVIDIA driver, such as 580.65.06; None where no GPU answers."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    result = subprocess.run(query, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False)
    lines = result.stdout.split()
    return lines[0] if result.returncode == 0 and lines else None


def probe_gpus() -> list[Gpu]:
    """The GPUs that this process may use, by nvidia-smi and CUDA_VISIBLE_DEVICES; none without a working nvidia-smi.

    Raises:
        ValueError: nvidia-smi does not answer.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits"]
    try:
        result = subprocess.run(query, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise ValueError(
            f"nvidia-smi does not answer: got nothing within {PROBE_TIMEOUT_S} s, expected a list of this machine's "
            "GPUs; see what `nvidia-smi` alone does: a GPU or its driver is stuck, or starts slowly without "
            "persistence mode (`nvidia-smi -pm 1`)"
        ) from error
    if result.returncode != 0:
        return []
    gpus = {}
    for line in result.stdout.splitlines():
        index, uuid, name, memory = (field.strip() for field in line.split(","))
        gpus[index] = gpus[uuid] = Gpu(name, int(memory) if memory.isdigit() else 0)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [key for key in gpus if key.isdigit()] if visible is None else visible.split(",")
    # As CUDA does: the first name that is no device hides all that follow.
    chosen = []
    for name in (name.strip() for name in names):
        if name not in gpus:
            break
        chosen.append(gpus[name])
    return chosen
