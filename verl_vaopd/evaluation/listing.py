"""Many faults of one kind, told in few lines."""

from collections.abc import Sequence

_SHOWN = 10


def listed(items: Sequence[str]) -> str:
    """The first ones, a line each, and how many more there are."""
    more = [f"and {len(items) - _SHOWN} more"] if len(items) > _SHOWN else []
    return "\n".join(f"  {item}" for item in [*items[:_SHOWN], *more])
