"""How busy what answers is: unfinished samples over time."""

from __future__ import annotations

import time
from collections.abc import Callable


class Occupancy:
    """How many samples are unfinished, over time.

    Args:
        num_slots: samples that can run at a time.
        clock: seconds.
    """

    def __init__(self, num_slots: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._num_slots, self._clock = num_slots, clock
        self._since: float | None = None
        self._num_unfinished = 0
        self._seconds = self._idle = self._full = 0.0

    def note(self, num_unfinished: int) -> None:
        """From now on there are so many; the first call starts the clock."""
        now = self._clock()
        if self._since is not None:
            elapsed = now - self._since
            self._seconds += elapsed
            self._idle += elapsed * (self._num_unfinished == 0)
            self._full += elapsed * min(1.0, self._num_unfinished / self._num_slots)
        self._since, self._num_unfinished = now, num_unfinished

    @property
    def idle_frac(self) -> float | None:
        """Share of the time between the first and the last call in which there were none."""
        return self._idle / self._seconds if self._seconds else None

    @property
    def full_frac(self) -> float | None:
        """Mean share of the slots in use."""
        return self._full / self._seconds if self._seconds else None
