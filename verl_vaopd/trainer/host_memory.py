"""Resident host memory of a training's processes on the driver's machine: what it was at most, by kind of process.

The driver and the queue grow with what a step or a validation holds at a time. A page that processes share counts in
each of them.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Self

import psutil

INTERVAL = 1.0  # seconds; a look at 50 processes takes a few milliseconds
_OF_THE_QUEUE = ("ray::SimpleStorageUnit", "ray::RayObjectRefStorage", "ray::TransferQueueController")
"""Titles of TransferQueue's actors, which a running method follows: `ray::Class.method`."""
_GIB = 2**30


class HostMemory:
    """Looks at the processes every second while its context lasts.

    Args:
        own_cluster: Ray was started by this process. If not, all that Ray runs on this machine is looked at, since
            nothing tells the workers of one training from those of another.
    """

    def __init__(self, own_cluster: bool):
        self._own_cluster = own_cluster
        self._peaks: dict[str, float] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="host memory", daemon=True)

    def take(self) -> dict[str, float]:
        """Peaks since the last call [GiB] of `driver`, `queue`, `worker` (all others), and `total` at one time."""
        self._look()
        with self._lock:
            taken, self._peaks = self._peaks, {}
        return taken

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(INTERVAL):
            self._look()

    def _look(self) -> None:
        found = resident_memory(self._own_cluster)
        with self._lock:
            self._peaks = {kind: max(value, self._peaks.get(kind, 0.0)) for kind, value in found.items()}


def resident_memory(own_cluster: bool) -> dict[str, float]:
    """What HostMemory.take gives, now."""
    driver = psutil.Process()
    found: Counter[str] = Counter(dict.fromkeys(("driver", "queue", "worker"), 0))
    family = {process.pid: process for root in _roots(driver, own_cluster) for process in _with_children(root)}
    for pid, process in family.items():
        with contextlib.suppress(psutil.Error), process.oneshot():  # it has ended meanwhile
            title = "".join(process.cmdline()[:1])
            kind = "driver" if pid == driver.pid else "queue" if title.startswith(_OF_THE_QUEUE) else "worker"
            found[kind] += process.memory_info().rss
    return {kind: size / _GIB for kind, size in (*found.items(), ("total", found.total()))}


def _roots(driver: psutil.Process, own_cluster: bool) -> Iterator[psutil.Process]:
    yield driver
    if not own_cluster:
        yield from (process for process in psutil.process_iter(["name"]) if process.info["name"] == "raylet")


def _with_children(root: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return [root, *root.children(recursive=True)]
    return []
