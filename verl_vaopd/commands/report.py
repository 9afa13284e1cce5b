"""The end of a run: the table of held-out results and the learning curve, from the event log alone.

Intervals are those the validation computed; nothing is estimated again here. Imports no torch.
"""

import os
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from verl_vaopd.commands.console import format_nats, format_share
from verl_vaopd.files import result_files, write_png
from verl_vaopd.runs import events
from verl_vaopd.runs.checkpoints import best_step, complete_steps
from verl_vaopd.runs.run_dir import CHECKPOINTS, CONFIG

CURVE = "learning_curve.png"


def final_table(run_dir: str | os.PathLike[str]) -> str:
    """Held-out accuracy and mean visual advantage before training, at the best and at the last checkpoint: Markdown.

    `before` is the validation of step 0, if there was one, and `last` the last; `best` is the validated complete
    checkpoint of the highest accuracy, the earliest on ties. Alarms that were raised are listed below it. Raises
    ValueError for a run without any validation.
    """
    from verl_vaopd.stats.tables import markdown_table

    validations = _validations(Path(run_dir))
    by_step = {event["step"]: event for event in validations}
    best = best_step(validations, complete_steps(Path(run_dir) / CHECKPOINTS))
    rows = {"before": by_step.get(0), "best": by_step[best] if best is not None else None, "last": validations[-1]}
    cells = [["", "step", "accuracy", "mean VA"]]
    for name, event in rows.items():
        if event is not None:
            cells.append([name, str(event["step"]), format_share(event, "accuracy"), format_nats(event, "mean_va")])
    average = f"avg@{_answers_per_question(Path(run_dir))}, {validations[-1]['n_questions']} questions"
    caption = f"Held-out accuracy ({average}) and mean visual advantage (VA, nats per token), with 95 % intervals"
    missing = {name: event["n_missing"] for name, event in rows.items() if event is not None and event["n_missing"]}
    notes = [f"{count} answers of `{name}` failed and are left out." for name, count in missing.items()]
    if 0 not in by_step:
        notes.append("No row `before`: the student was not validated before training (validation.before_train=false).")
    if best is None:
        notes.append("No best checkpoint: none that is complete was validated.")
    notes += _alarms(Path(run_dir))
    notes = ["", *notes] if notes else []
    return "\n".join([caption, "", markdown_table(cells), *notes])


def learning_curve(run_dir: str | os.PathLike[str]) -> Path:
    """Draw held-out accuracy and mean visual advantage over steps, with their intervals, into `learning_curve.png`.

    Returns the file. Raises ValueError for a run without any validation, and for a file of that name that is not ours.
    """
    from matplotlib.figure import Figure

    run_dir = Path(run_dir)
    validations = _validations(run_dir)
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    panels = figure.subplots(1, 2)
    for panel, name, title in zip(
        panels, ("accuracy", "mean_va"), ("held-out accuracy", "mean visual advantage [nats per token]"), strict=True
    ):
        points = [event for event in validations if event.get(name) is not None]
        # An undefined limit (one question) is drawn as none.
        x = [event["step"] for event in points]
        panel.plot(x, [event[name] for event in points], marker="o", markersize=3)
        low, high = ([_limit(event, f"{name}_{end}", name) for event in points] for end in ("low", "high"))
        panel.fill_between(x, low, high, alpha=0.2)
        panel.set(title=title, xlabel="step")
        panel.grid(alpha=0.3)
    figure.suptitle(f"{run_dir.resolve().name}: avg@{_answers_per_question(run_dir)}, 95 % intervals", fontsize=9)
    with result_files(run_dir) as staged:
        write_png(staged / CURVE, figure)
    return run_dir / CURVE


def _validations(run_dir: Path) -> list[dict[str, Any]]:
    validations = events.validations(run_dir / events.FILE_NAME)
    if not validations:
        raise ValueError(
            f"{run_dir}: got no validation in {events.FILE_NAME}, expected at least one; "
            "the run has not come that far, or is not a run directory"
        )
    return validations


def _alarms(run_dir: Path) -> list[str]:
    """A sentence for each that was raised, in the order of their first steps. What a resume repeats counts once."""
    raised: dict[str, dict[int, dict[str, Any]]] = {}
    for event in events.read(run_dir / events.FILE_NAME):
        if event["kind"] == "alarm":
            raised.setdefault(event["alarm"], {})[event["step"]] = event
    sentences = []
    for name, by_step in raised.items():
        steps, last = sorted(by_step), by_step[max(by_step)]
        at = ", ".join(map(str, steps))
        sentences.append(f"Alarm `{name}` at step {at}: {last['measured']}: {last['meaning']}.")
    return sentences


def _answers_per_question(run_dir: Path) -> int:
    """The k of avg@k."""
    return OmegaConf.load(run_dir / CONFIG).validation.n


def _limit(event: dict[str, Any], name: str, value: str) -> float:
    return event[value] if event[name] is None else event[name]
