"""Progress bars of long work: on a terminal a bar, in a file a line every half minute."""

from __future__ import annotations

import sys

from tqdm import tqdm

_AFTER = 3.0  # seconds: what takes less shows nothing


class Bar(tqdm):
    """A bar on stderr with rate and remaining time, for work of more than three seconds.

    Args:
        total: None: nobody knows.
        scaled: counts are shown with k, M, G.
        done: what an earlier call did.

    Without tqdm's thread: the process that starts a training must have none.
    """

    monitor_interval = 0

    def __init__(self, what: str, total: int | None, unit: str, scaled: bool = False, done: int = 0) -> None:
        interval = 0.1 if sys.stderr.isatty() else 30.0
        super().__init__(
            total=total,
            initial=done,
            desc=what,
            unit=unit,
            unit_scale=scaled,
            mininterval=interval,
            delay=_AFTER,
            file=sys.stderr,
        )
