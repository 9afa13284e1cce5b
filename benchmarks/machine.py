"""What a result was measured on, without anything that identifies the machine; and memory of a process."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import torch

from verl_vaopd.files import write_text


def describe_machine() -> dict[str, Any]:
    """Processor, cores this process may use, memory, load at this moment, GPU, and versions that decide speed."""
    description: dict[str, Any] = {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average_1min": round(os.getloadavg()[0], 1),
        "gpu": None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        description["gpu"] = f"{torch.cuda.device_count()} x {properties.name}"
        description["gpu_memory_gib"] = round(properties.total_memory / 2**30, 1)
        description["cuda"] = torch.version.cuda
    return description


def resident_bytes(field: str) -> int:
    """Resident set of this process: VmRSS now, VmHWM at its highest (getrusage's would include the parent's)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}: got another system, expected Linux; measure there")


def require_own_result(path: Path) -> None:
    """Raise ValueError if a file is there that is no result of a benchmark: it is not written over."""
    if not path.exists():
        return
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        there = None
    if not isinstance(there, dict) or "machine" not in there:
        raise ValueError(f"{path}: got a file that no benchmark has written; expected none, or a result; name another")


def write_result(path: Path, result: dict[str, Any]) -> None:
    """A benchmark's result, `machine` in it, in the place of an earlier one. Raises as require_own_result."""
    require_own_result(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(result, indent=2) + "\n")


def _cpu_model() -> str:
    """The kernel's name for the processor, with the extensions that matter for bfloat16, as virtual ones say little."""
    fields = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in fields.get("flags", "").split()]
    return f"{fields.get('model name', platform.machine())} ({', '.join(flags)})" if flags else platform.machine()
