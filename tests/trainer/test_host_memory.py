"""Whose memory is counted, seen on processes of our own that hold 64 MiB each, and what a peak is."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from verl_vaopd.runs.metric_names import MEMORY
from verl_vaopd.trainer import host_memory
from verl_vaopd.trainer.host_memory import HostMemory, resident_memory

HELD = 64 / 1024  # GiB
HOLD = "held = b'x' * 2**26; print('held', flush=True); import time; time.sleep(600)"


@pytest.fixture
def start() -> Iterator:
    """Starts a process with a title, as Ray gives it to an actor, and waits until it holds its memory."""
    started = []

    def start_one(title: str) -> None:
        started.append(subprocess.Popen([title, "-c", HOLD], executable=sys.executable, stdout=subprocess.PIPE))
        assert started[-1].stdout.readline() == b"held\n"

    yield start_one
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("ray::SimpleStorageUnit", "queue"),
        ("ray::TransferQueueController.get_config", "queue"),
        ("ray::ViewAgentLoopWorker", "worker"),
        ("VLLM::EngineCore", "worker"),
    ],
)
def test_a_process_counts_as_what_its_title_says(start, title, kind):
    before = resident_memory(own_cluster=True)
    start(title)
    after = resident_memory(own_cluster=True)
    assert after.keys() == MEMORY.keys()
    grown = {name for name in MEMORY if after[name] - before[name] > 0.9 * HELD}
    assert grown == {kind, "total"}
    assert after["total"] == pytest.approx(after["driver"] + after["queue"] + after["worker"])


def test_memory_of_the_driver(start):
    before = resident_memory(own_cluster=True)
    # Of its own: what the allocator has in reserve after other tests would be in the memory before.
    with mmap.mmap(-1, 2**26, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as held:
        for page in range(0, len(held), mmap.PAGESIZE):
            held[page] = 1
        after = resident_memory(own_cluster=True)
    assert after["driver"] - before["driver"] > 0.9 * HELD


def test_in_a_cluster_that_was_there_before_all_of_it_counts(monkeypatch):
    """A stand-in for its raylet, started by a process that ends at once, so that it is no child of this one."""
    start = (
        f"import subprocess as s; p = s.Popen([{sys.executable!r}, '-c', {HOLD!r}], stdout=s.PIPE, stderr=s.DEVNULL); "
        "p.stdout.readline(); print(p.pid)"
    )
    pid = int(subprocess.run([sys.executable, "-c", start], stdout=subprocess.PIPE, check=True).stdout)
    raylet, other = psutil.Process(pid), psutil.Process(os.getppid())
    raylet.info, other.info = {"name": "raylet"}, {"name": "bash"}
    monkeypatch.setattr(psutil, "process_iter", lambda attrs: iter([other, raylet]))
    try:
        own, shared = resident_memory(own_cluster=True), resident_memory(own_cluster=False)
    finally:
        os.kill(pid, signal.SIGKILL)
    assert 0.9 * HELD < shared["worker"] - own["worker"] < 2 * HELD


def test_a_peak_is_that_since_the_last_one_was_taken(monkeypatch):
    looks = iter([1.0, 3.0, 2.0, 0.5, 0.25])
    monkeypatch.setattr(host_memory, "resident_memory", lambda own_cluster: {"queue": next(looks)})
    memory = HostMemory(own_cluster=True)
    memory._look()
    memory._look()
    assert memory.take() == {"queue": 3.0}
    assert memory.take() == {"queue": 0.5}
    assert memory.take() == {"queue": 0.25}


def test_it_looks_by_itself_and_ends_with_its_context(monkeypatch):
    looked = host_memory.threading.Event()
    monkeypatch.setattr(host_memory, "INTERVAL", 0.01)
    monkeypatch.setattr(host_memory, "resident_memory", lambda own_cluster: looked.set() or {"queue": 1.0})
    with HostMemory(own_cluster=True) as memory:
        assert looked.wait(60)
    assert not memory._thread.is_alive()
