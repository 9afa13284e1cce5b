"""A training ends when a node of its Ray cluster or one of its actors is lost, whatever it is waiting for.

Who calls a dead actor is told by Ray. But verl 0.9.1 hands prompts to its agent loops without waiting for them
(trainer/ppo/v1/agent_loop_tq.py:59), and TransferQueue's processes are asked through sockets: without this, what a dead
one was to answer is waited for without end.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType
from typing import NoReturn, Self

import ray

from verl_vaopd.runs.causes import short_cause

INTERVAL_S = 5.0
GRACE_S = 15.0
"""For the error of whatever asked the lost one first, which says more."""

Parts = Mapping[str, str]
"""{id: what a reader knows it by}"""


class PartLost(RuntimeError):
    """A node or an actor that the training began with is gone."""


def alive_nodes() -> Parts:
    """{id: address} of the cluster's nodes."""
    return {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}


def alive_actors() -> Parts:
    """{id: class and address} of this job's actors."""
    # Not in Ray's public interface, whose `ray.util.state` asks the dashboard, which need not run.
    from ray._private.state import actors

    job = ray.JobID(bytes.fromhex(ray.get_runtime_context().get_job_id()))
    return {
        actor: f"{about['ActorClassName']} on {about['Address']['IPAddress']}"
        for actor, about in actors(job_id=job).items()
        if about["State"] != "DEAD"
    }


class Watch:
    """Raises PartLost in the main thread, or from an error that left the context, when a node or an actor is gone.

    Use as a context manager, in the main thread, when all actors are there. Of a dead actor Ray knows at once, of a
    node after about a minute without a sign of life.

    Args:
        nodes, actors: those that are there; what comes later and goes is no loss.
    """

    def __init__(
        self,
        nodes: Callable[[], Parts] = alive_nodes,
        actors: Callable[[], Parts] = alive_actors,
        grace_s: float = GRACE_S,
    ):
        self._nodes, self._actors = nodes, actors
        self._interval_s, self._grace_s = min(INTERVAL_S, grace_s), grace_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch of nodes and actors", daemon=True)

    def __enter__(self) -> Self:
        self._first_nodes, self._first_actors = self._nodes(), self._actors()
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
        if gone := _missing(self._first_nodes, self._nodes()):
            return f"the Ray cluster lost {gone}, of the {len(self._first_nodes)} nodes that this run began with"
        if gone := _missing(self._first_actors, self._actors()):
            return f"this run lost {gone}: the process has ended"
        return ""

    def _raise(self, number: int, frame: FrameType | None) -> NoReturn:
        raise PartLost(f"{self._lost()}; what was waited for was there")


def _missing(first: Parts, now: Parts) -> str:
    return ", ".join(sorted(first[part] for part in first.keys() - now.keys()))
