"""Work on many rows in all processors, a few batches on their way at a time."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, TypeVar

T = TypeVar("T")


def num_processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


@contextlib.contextmanager
def processes(count: int, what: str, begin: Callable[..., None] | None = None, *given: Any) -> Iterator[Executor]:
    """Processes that work for this one. They are spawned, as this process may have threads.

    Args:
        what: they do, for an error.
        begin: called in each with `given` before its work.
    Raises:
        ValueError: one of them was ended from outside.
    """
    pool = ProcessPoolExecutor(count, get_context("spawn"), _begin, (begin, given))
    try:
        yield pool
    except BrokenProcessPool:
        raise ValueError(
            f"{what}: a process that does it was ended from outside, most often for want of memory; expected room for "
            "a few images in each processor's process; free some memory"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def results(pool: Executor, function: Callable[..., T], calls: Iterable[tuple], most: int) -> Iterator[T]:
    """What the function returns for each call's arguments, as it is ready; at most so many calls are on their way."""
    pending: set[Future[T]] = set()
    for call in calls:
        while len(pending) >= most:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
        pending.add(pool.submit(function, *call))
    yield from (future.result() for future in pending)


def _begin(begin: Callable[..., None] | None, given: tuple) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is answered by the process that asks
    if begin is not None:
        begin(*given)
