"""A training ends when a node of its Ray cluster or a worker of its agent loops is lost, whatever it is waiting for.

What asks a dead process for something is told by Ray. But verl 0.9.1 hands prompts to its agent loops without waiting
for them (trainer/ppo/v1/agent_loop_tq.py:59): what a dead one was sampling would be waited for without end.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import NoReturn, Self

import ray

from verl_vaopd.runs.causes import short_cause

INTERVAL_S = 5.0
GRACE_S = 15.0
"""For the error of whatever asked the node first, which says more."""


class PartLost(RuntimeError):
    """A node or a worker that the training began with is gone."""


def alive_nodes() -> dict[str, str]:
    """{id: address} of the cluster's nodes."""
    return {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}


def none_ended(lifelines: Sequence[ray.ObjectRef]) -> bool:
    """Whether all of these calls, which never return, still run: one ends when its actor dies."""
    return not lifelines or not ray.wait(list(lifelines), timeout=0)[0]


class Watch:
    """Raises PartLost in the main thread, or from an error that left the context, when a node or a worker is gone.

    Use as a context manager, in the main thread. Of a dead worker Ray knows at once, of a node after about a minute
    without a sign of life.

    Args:
        workers_live: whether all workers do that nobody waits for.
        nodes: {id: address} of those that are there.
    """

    def __init__(
        self,
        workers_live: Callable[[], bool] = lambda: True,
        nodes: Callable[[], dict[str, str]] = alive_nodes,
        grace_s: float = GRACE_S,
    ):
        self._workers_live, self._nodes = workers_live, nodes
        self._interval_s, self._grace_s = min(INTERVAL_S, grace_s), grace_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch of nodes and workers", daemon=True)

    def __enter__(self) -> Self:
        self._first = self._nodes()
        self._handler = signal.signal(signal.SIGUSR1, self._raise)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        signal.signal(signal.SIGUSR1, self._handler)
        if isinstance(error, Exception) and not isinstance(error, PartLost) and (lost := self._lost()):
            raise PartLost(f"{lost}; first to fail: {short_cause(str(error))}") from error

    def _watch(self) -> None:
        while not self._ended.wait(self._interval_s):
            # Again and again: a library may have caught it.
            if self._lost() and not self._ended.wait(self._grace_s):
                os.kill(os.getpid(), signal.SIGUSR1)

    def _lost(self) -> str:
        """What is gone, for a reader; empty where nothing is."""
        gone = sorted(self._first[node] for node in self._first.keys() - self._nodes().keys())
        if gone:
            nodes = f"of the {len(self._first)} nodes that this run began with"
            return f"the Ray cluster lost {', '.join(gone)}, {nodes}"
        return "" if self._workers_live() else "a ViewAgentLoopWorker, which takes prompts to vLLM, has died"

    def _raise(self, number: int, frame: FrameType | None) -> NoReturn:
        raise PartLost(f"{self._lost()}; what was waited for was there")
