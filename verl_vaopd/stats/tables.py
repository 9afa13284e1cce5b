"""Numbers with their intervals, as text and as files."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from verl_vaopd.files import write_text
from verl_vaopd.stats.estimates import Estimate
from verl_vaopd.stats.seeds import SeedEstimate

ABSENT = "-"


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first row is its head, with aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|-" + "-|-".join("-" * width for width in widths) + "-|")
    return "\n".join(lines)


def share(estimate: Estimate | SeedEstimate | None) -> str:
    """`31.2 % [28.0, 34.5]`, and `(30.1 to 32.3)` for the lowest and highest seed where there are several."""
    return _with_limits(estimate, lambda value: f"{100 * value:.1f}", " %")


def points(estimate: Estimate | SeedEstimate | None) -> str:
    """A difference of shares in points of per cent, with its sign."""
    return _with_limits(estimate, lambda value: f"{100 * value:+.1f}", "")


def number(estimate: Estimate | SeedEstimate | None, digits: int = 3) -> str:
    """`0.047 [0.043, 0.051]`"""
    return _with_limits(estimate, lambda value: f"{value:.{digits}f}", "")


def _with_limits(estimate: Estimate | SeedEstimate | None, form: Callable[[float], str], unit: str) -> str:
    if estimate is None or math.isnan(estimate.value):
        return ABSENT
    text = form(estimate.value) + unit
    if not math.isnan(estimate.low):
        text += f" [{form(estimate.low)}, {form(estimate.high)}]"
    seeds = estimate.per_seed if isinstance(estimate, SeedEstimate) else ()
    return text + (f" ({form(min(seeds))} to {form(max(seeds))})" if len(seeds) > 1 else "")


def fields(name: str, estimate: Estimate | SeedEstimate | None) -> dict[str, Any]:
    """`name`, `name_low`, `name_high`, and `name_per_seed` where seeds are known; None for what is undefined."""
    if estimate is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    values = {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    plain: dict[str, Any] = {key: None if math.isnan(value) else value for key, value in values.items()}
    if isinstance(estimate, SeedEstimate):
        plain[f"{name}_per_seed"] = list(estimate.per_seed)
    return plain


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """One line per row, with the columns of all rows in order of appearance; None is empty, lists are spaced."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})
    write_text(path, buffer.getvalue())


def _cell(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list) else value
