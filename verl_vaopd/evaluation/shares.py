"""Shares of scored rows in per cent: what the metrics of benchmarks are made of."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any


def accuracy(rows: Sequence[Mapping[str, Any]]) -> float:
    """Per cent of right rows among those with a hit; NaN if there are none."""
    return percent(row["hit"] for row in rows if row["hit"] is not None)


def accuracy_by(rows: Sequence[Mapping[str, Any]], key: Callable[[Mapping[str, Any]], str | None]) -> dict[str, float]:
    """Accuracy of each group in alphabetical order; rows whose key is None are in none."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        group = key(row)
        if group is not None:
            groups.setdefault(group, []).append(row)
    return {group: accuracy(groups[group]) for group in sorted(groups)}


def percent(values: Iterator[Any] | Sequence[Any]) -> float:
    """100 times the mean; NaN for no values."""
    numbers = [float(value) for value in values]
    return 100.0 * math.fsum(numbers) / len(numbers) if numbers else math.nan
