"""The device module of the CPU platform: ``torch.cpu`` and what verl 0.9.1 calls beyond it on ``torch.cuda``.

Memory is that of this process, in bytes, as the operating system sees it: torch counts no allocations on the CPU.
"""

import resource

import psutil
import torch
from torch.cpu import (  # noqa: F401  (the part torch has)
    Event,
    Stream,
    current_device,
    current_stream,
    device_count,
    is_available,
    is_initialized,
    set_device,
    stream,
    synchronize,
)

_process = psutil.Process()


def get_device_name() -> str:
    """Name under which verl looks up the peak FLOPS of the device; it knows no CPU, so its MFU metric is 0."""
    return "CPU"


def mem_get_info() -> tuple[int, int]:
    """Free and total memory of the machine, in bytes."""
    memory = psutil.virtual_memory()
    return memory.available, memory.total


def memory_allocated() -> int:
    """Resident memory of this process, in bytes."""
    return _process.memory_info().rss


def max_memory_allocated() -> int:
    """Peak resident memory of this process since its start, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


memory_reserved = memory_allocated
max_memory_reserved = max_memory_allocated


def empty_cache() -> None:
    """Nothing to empty: torch caches no host memory."""


def ipc_collect() -> None:
    """Nothing to collect: weights reach vLLM through shared memory (`CpuPlatform.is_ipc_supported`)."""


get_rng_state = torch.get_rng_state
set_rng_state = torch.set_rng_state
manual_seed = torch.manual_seed
manual_seed_all = torch.manual_seed
