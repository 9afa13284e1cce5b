"""What a user sees while training runs: start-up phases, a progress bar and one line per step, from the event log.

A terminal gets a live line below the printed ones (elapsed seconds of a phase, then the bar); a file or a pipe gets the
printed lines alone. Imports no torch.
"""

import math
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from tqdm import tqdm

LOSS = "actor/loss"
VISUAL_ADVANTAGE = "vaopd/visual_advantage/mean"
ROLLOUT_ACCURACY = "vaopd/rollout_accuracy"
_PROGRESS_INTERVAL = 30.0  # seconds


class Console:
    """Renders events one by one; call `tick` often in between and `close` at the end.

    Args:
        stream: where to; a bar is drawn if it is a terminal.
        clock: seconds now, on the scale of the events' `time`.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.time):
        self._stream = sys.stdout if stream is None else stream
        self._clock = clock
        self._started = self._last_mark = self._printed = clock()
        self._drawn = -math.inf
        self._phase: tuple[str, float] | None = None
        self._validations: dict[int, dict[str, Any]] = {}
        self._bar: tqdm | None = None
        self._is_terminal = self._stream.isatty()
        self.step: int | None = None
        self.total: int | None = None
        self.finished = False
        self._checked: str | None = None
        """When the checks were made of which a line was printed last."""

    def show(self, event: dict[str, Any]) -> None:
        """Render one event; kinds without a line of their own only move the live line."""
        handler = getattr(self, f"_show_{event['kind']}")
        handler(event)

    def tick(self) -> None:
        """Redraw the live line once a second, so that seconds go on while nothing happens."""
        if self._is_terminal and self._clock() - self._drawn >= 1:
            self._draw()

    def print(self, text: str = "") -> None:
        """Print above the live line."""
        if self._bar is None:
            print(text, file=self._stream, flush=True)
        else:
            self._bar.clear()
            print(text, file=self._stream, flush=True)
            self._draw()

    def close(self) -> None:
        """Print what is still held back and end the live line."""
        for step in sorted(self._validations):
            self._print_validation(self._validations[step])
        self._validations.clear()
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _show_phase(self, event: dict[str, Any]) -> None:
        name, time_now = event["name"], event["time"]
        goes_on = self._phase is not None and bool(event.get("done"))
        if goes_on:
            name += f" {event['done']}/{event['total']}"
        self._phase = (name, self._phase[1] if goes_on and self._phase is not None else time_now)
        if self.step is None:
            self._last_mark = time_now
        # Progress is in the live line; a file gets a line of it now and then.
        is_due = not goes_on or (not self._is_terminal and time_now - self._printed >= _PROGRESS_INTERVAL)
        if is_due and (self.step is None or self.step == self.total):
            self._printed = time_now
            self.print(f"[{time_now - self._started:4.0f} s] {name}")

    def _show_step(self, event: dict[str, Any]) -> None:
        step, total = event["step"], event["total"]
        seconds = event["time"] - self._last_mark
        self._last_mark, self._phase = event["time"], None
        validation = self._validations.pop(step, None)
        self.print(step_line(step, total, event["metrics"], validation, seconds))
        if self._is_terminal and self.step is None:
            if self._bar is not None:
                self._bar.close()
            self._bar = tqdm(total=total, initial=step, unit="step", file=self._stream, dynamic_ncols=True, leave=False)
        self.step, self.total = step, total
        if self._bar is not None:
            self._bar.update(step - self._bar.n)

    def _show_validation(self, event: dict[str, Any]) -> None:
        is_ahead = event["step"] > (self.step or 0)
        if is_ahead:  # belongs to the line of the step under way
            self._validations[event["step"]] = event
        else:
            self._print_validation(event)

    def _show_checkpoint(self, event: dict[str, Any]) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(f"checkpoint at step {event['step']}", refresh=False)

    def _show_warning(self, event: dict[str, Any]) -> None:
        self.print(f"warning: {event['text']}")

    def _show_alarm(self, event: dict[str, Any]) -> None:
        self.print(f"alarm at step {event['step']}: {event['alarm']}: {event['measured']}: {event['meaning']}")
        self.print(f"  try: {event['fix']}")

    def _show_preflight(self, event: dict[str, Any]) -> None:
        if event["when"] != self._checked:
            self._checked = event["when"]
            self.print(f"checks, {self._checked}:")
        self.print(f"  {event['outcome']:7} {event['check']:20} {event['measured']}")
        if "fix" in event:
            self.print(f"  {'':7} {'':20} fix: {event['fix']}")

    def _show_refused(self, event: dict[str, Any]) -> None:
        pass  # the supervisor raises it

    def _show_failed(self, event: dict[str, Any]) -> None:
        self.print(f"failed: {event['text']}")

    def _show_finished(self, event: dict[str, Any]) -> None:
        self.finished = True

    def _print_validation(self, event: dict[str, Any]) -> None:
        when = "before training" if event["step"] == 0 else f"at step {event['step']}"
        self.print(
            f"held-out accuracy {when}: {format_share(event, 'accuracy')} | mean VA {format_nats(event, 'mean_va')}"
        )

    def _draw(self) -> None:
        self._drawn = self._clock()
        if self._bar is None:
            # The start-up has no length: a line of text where the bar will be.
            self._bar = tqdm(file=self._stream, bar_format="{desc}", leave=False)
        if self._phase is None:
            self._bar.set_description("training", refresh=False)
        else:
            name, since = self._phase
            self._bar.set_description_str(f"  {name} ... {self._clock() - since:.0f} s", refresh=False)
        self._bar.refresh()


def step_line(
    step: int, total: int, metrics: dict[str, float | None], validation: dict[str, Any] | None, seconds: float
) -> str:
    """One step for a reader. `seconds` is wall-clock time since the step before, validation included."""
    parts = [f"step {step:{len(str(total))}d}/{total}"]
    if LOSS in metrics:
        parts.append(f"loss {_number(metrics[LOSS], '.4f')}")
    if VISUAL_ADVANTAGE in metrics:
        parts.append(f"VA {_number(metrics[VISUAL_ADVANTAGE], '.3f')}")
    if ROLLOUT_ACCURACY in metrics:
        parts.append(f"rollout accuracy {_percent(metrics[ROLLOUT_ACCURACY])}")
    if validation is not None:
        parts.append(f"held-out accuracy {format_share(validation, 'accuracy')}")
    return " | ".join([*parts, f"{seconds:.1f} s"])


def _number(value: float | None, form: str) -> str:
    return "not finite" if value is None else format(value, form)


def _percent(value: float | None) -> str:
    return "not finite" if value is None else f"{100 * value:4.1f} %"


def format_share(event: dict[str, Any], name: str) -> str:
    """A share of an event with its interval, in per cent."""
    return _with_interval(event, name, lambda value: f"{100 * value:.1f}", unit=" %")


def format_nats(event: dict[str, Any], name: str) -> str:
    """A number of nats of an event with its interval."""
    return _with_interval(event, name, lambda value: f"{value:.3f}", unit="")


def _with_interval(event: dict[str, Any], name: str, form: Callable[[float], str], unit: str) -> str:
    """`31.2 % [28.0, 34.5]`; the interval is left out where it is undefined (null: fewer than two questions)."""
    if name not in event:
        return "not computed"
    value, low, high = (event[key] for key in (name, f"{name}_low", f"{name}_high"))
    if value is None:
        return "not finite"
    return form(value) + unit + ("" if low is None or high is None else f" [{form(low)}, {form(high)}]")
