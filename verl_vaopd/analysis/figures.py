"""Figures of several runs. Each is written whole or not at all; matplotlib is imported where something is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from verl_vaopd.analysis.points import Measured
from verl_vaopd.files import write_png
from verl_vaopd.stats.estimates import Estimate

PANELS = {"accuracy": "held-out accuracy", "mean_va": "mean visual advantage [nats per token]"}


def draw_comparison(curves: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]], path: Path) -> None:
    """Held-out accuracy and mean visual advantage over steps: a thin line per run, a thick one per method.

    The thick line is the mean over the runs at the steps that all of them validated.

    Args:
        curves: {method: validation events of each of its runs}.
        path: of the PNG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    panels = figure.subplots(1, len(PANELS))
    for panel, (name, title) in zip(panels, PANELS.items(), strict=True):
        for number, (method, runs) in enumerate(curves.items()):
            series = [{event["step"]: event[name] for event in run if event.get(name) is not None} for run in runs]
            color = f"C{number % 10}"
            for of_run in series if len(series) > 1 else []:
                panel.plot(list(of_run), list(of_run.values()), color=color, linewidth=0.6, alpha=0.6)
            steps = sorted(set.intersection(*map(set, series)))
            means = [sum(of_run[step] for of_run in series) / len(series) for step in steps]
            # More than ten methods: the colours repeat, the markers tell them apart.
            marker = "osv^D"[number // 10 % 5]
            panel.plot(steps, means, color=color, linewidth=1.8, marker=marker, markersize=3, label=method)
        panel.set(title=title, xlabel="step")
        panel.grid(alpha=0.3)
    panels[0].legend(fontsize=8)
    write_png(path, figure)


def draw_two_stage(measured: Sequence[Measured], path_rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Accuracy, pass@k and different answers at the points, and policy entropy along both stages.

    Args:
        measured: every point on every split.
        path_rows: of two_stage.trajectory.
        path: of the PNG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    accuracy, pass_at, distinct, entropy = figure.subplots(2, 2).flat
    splits = list(dict.fromkeys(result.split for result in measured))
    for number, split in enumerate(splits):
        results = [result for result in measured if result.split == split]
        names = [result.point for result in results]
        look = {"color": f"C{number}", "marker": "o", "capsize": 3, "label": split}
        accuracy.errorbar(names, [r.accuracy.value for r in results], _bars([r.accuracy for r in results]), **look)
        distinct.errorbar(names, [r.distinct.value for r in results], _bars([r.distinct for r in results]), **look)
        for result, style in zip(results, (":", "--", "-"), strict=True):
            ks = list(range(1, len(result.pass_at) + 1))
            values = [estimate.value for estimate in result.pass_at]
            pass_at.plot(ks, values, style, color=f"C{number}", label=f"{result.point}, {split}")
            low, high = ([getattr(estimate, end) for estimate in result.pass_at] for end in ("low", "high"))
            pass_at.fill_between(ks, low, high, color=f"C{number}", alpha=0.08)
    places = [0]  # of the points on the path
    for number, stage in enumerate(dict.fromkeys(row["stage"] for row in path_rows)):
        places.append(max(row["path_step"] for row in path_rows if row["stage"] == stage and row["on_path"]))
        rows = [row for row in path_rows if row["stage"] == stage and row["entropy"] is not None]
        for on_path, width in ((True, 1.8), (False, 0.6)):
            part = [row for row in rows if row["on_path"] == on_path]
            label = stage if on_path else None
            x, y = [row["path_step"] for row in part], [row["entropy"] for row in part]
            entropy.plot(x, y, color=f"C{number + len(splits)}", linewidth=width, label=label)
    held_out = [result.entropy for result in measured if result.split == splits[0]]
    look = {"color": "C0", "fmt": "o", "capsize": 3, "label": f"on {splits[0]}"}
    entropy.errorbar(places, [estimate.value for estimate in held_out], _bars(held_out), **look)
    accuracy.set(title="accuracy")
    num_samples = len(measured[0].pass_at)
    pass_at.set(title="pass@k (unbiased)", xlabel="k", xticks=[k for k in (1, 2, 4, 8, 16) if k <= num_samples])
    distinct.set(title=f"different answers among {num_samples}")
    entropy.set(title="policy entropy [nats per token], lines: training rollouts", xlabel="step along the path")
    for panel in (accuracy, pass_at, distinct, entropy):
        panel.grid(alpha=0.3)
        panel.legend(fontsize=7)
    write_png(path, figure)


def _bars(estimates: Sequence[Estimate]) -> list[list[float]]:
    """[2, P] distances of the limits from the values, never negative (percentile limits may both lie on one side)."""
    return [[max(0.0, e.value - e.low) for e in estimates], [max(0.0, e.high - e.value) for e in estimates]]
