import io

import pytest

from verl_vaopd.commands.console import Console, step_line
from verl_vaopd.runs.events import KINDS

METRICS = {"actor/loss": 0.12345, "vaopd/visual_advantage/mean": 0.5, "vaopd/rollout_accuracy": 0.25}


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def validation(step, accuracy, **changes):
    event = {"kind": "validation", "time": 100.0, "step": step, "accuracy": accuracy, "mean_va": 0.5}
    limits = {"accuracy_low": 0.2, "accuracy_high": 0.45, "mean_va_low": 0.4, "mean_va_high": 0.6}
    return event | limits | {"n_questions": 10, "n_samples": 40, "n_missing": 0} | changes


def step(number, time, total=3):
    return {"kind": "step", "time": time, "step": number, "total": total, "metrics": METRICS}


def validating(time, done):
    return {"kind": "phase", "time": time, "name": "validating", "done": done, "total": 200}


def render(*events, stream=None):
    stream = stream or io.StringIO()
    console = Console(stream, Clock())
    for event in events:
        console.show(event)
    console.close()
    return stream.getvalue()


def test_a_step_is_one_readable_line():
    line = step_line(7, 120, METRICS, validation(7, 0.31), seconds=2.34)
    assert line == (
        "step   7/120 | loss 0.1235 | VA 0.500 | rollout accuracy 25.0 % "
        "| held-out accuracy 31.0 % [20.0, 45.0] | 2.3 s"
    )


def test_what_was_not_measured_is_left_out_and_what_is_not_finite_is_said():
    assert step_line(1, 9, {"actor/loss": None}, None, 1.0) == "step 1/9 | loss not finite | 1.0 s"


def test_an_undefined_interval_is_left_out():
    line = step_line(1, 9, {}, validation(1, 0.5, accuracy_low=None, accuracy_high=None), 1.0)
    assert line == "step 1/9 | held-out accuracy 50.0 % | 1.0 s"


def test_phases_say_when_they_began():
    text = render(
        {"kind": "phase", "time": 103.2, "name": "starting Ray"},
        {"kind": "phase", "time": 161.0, "name": "loading student"},
    )
    assert text == "[   3 s] starting Ray\n[  61 s] loading student\n"


def test_a_file_gets_the_progress_of_a_validation_every_half_minute():
    events = [validating(100.0 + 12 * number, 16 * number) for number in range(7)]
    assert render(*events) == "[   0 s] validating\n[  36 s] validating 48/200\n[  72 s] validating 96/200\n"


def test_a_terminal_gets_the_progress_of_a_validation_in_its_live_line():
    stream, clock = Terminal(), Clock()
    console = Console(stream, clock)
    for done in (0, 64):
        console.show(validating(100.0, done))
        clock.now += 60
        console.tick()
    assert stream.getvalue().count("validating\n") == 1
    assert "validating ... 60 s" in stream.getvalue() and "validating 64/200 ... 120 s" in stream.getvalue()


def test_seconds_are_those_since_the_step_before_validation_included():
    lines = render(
        {"kind": "phase", "time": 100.0, "name": "training"},
        step(1, 102.0),
        validating(104.0, 0),
        validating(108.0, 8),
        validation(2, 0.3),
        step(2, 109.5),
    ).splitlines()
    assert lines[1].endswith("| 2.0 s") and len(lines) == 3
    assert lines[2].endswith("| 7.5 s")


def test_the_validation_before_training_has_a_line_of_its_own():
    text = render(validation(0, 0.3), step(1, 101.0))
    assert (
        text.splitlines()[0] == "held-out accuracy before training: 30.0 % [20.0, 45.0] | mean VA 0.500 [0.400, 0.600]"
    )


def test_the_validation_of_a_step_is_in_its_line():
    lines = render(step(1, 101.0), validation(2, 0.3), step(2, 102.0)).splitlines()
    assert "held-out" not in lines[0]
    assert "held-out accuracy 30.0 %" in lines[1]
    assert len(lines) == 2


@pytest.mark.parametrize("events", [(step(2, 1.0), validation(2, 0.3)), (step(1, 1.0), validation(2, 0.3))])
def test_a_validation_whose_line_is_printed_or_never_comes_is_not_lost(events):
    assert render(*events).splitlines()[1].startswith("held-out accuracy at step 2: 30.0 %")


def test_a_validation_without_visual_advantage():
    event = {key: value for key, value in validation(0, 0.3).items() if not key.startswith("mean_va")}
    assert render(event).rstrip().endswith("mean VA not computed")


def test_phases_between_steps_print_nothing_and_those_after_the_last_do():
    saving = {"kind": "phase", "time": 103.0, "name": "saving"}
    assert "saving" not in render(step(1, 101.0), saving)
    assert "saving" in render(step(3, 101.0), saving)


def test_warnings_are_shown():
    assert render({"kind": "warning", "time": 1.0, "text": "2 rollouts failed"}) == "warning: 2 rollouts failed\n"


def test_checks_are_a_table_with_the_fix_of_what_failed():
    fields = {"kind": "preflight", "time": 1.0, "when": "step 2", "measured": "0.5 nats"}
    passed = {**fields, "check": "equal_views", "outcome": "passed"}
    failed = {**fields, "check": "log_prob_gap", "outcome": "failed", "fix": "mend it"}
    head, first, second, fix = render(passed, failed).splitlines()
    assert head == "checks, step 2:"
    assert first.split() == ["passed", "equal_views", "0.5", "nats"]
    assert second.split()[:2] == ["failed", "log_prob_gap"] and fix.strip() == "fix: mend it"


def test_an_alarm_says_what_was_read_what_it_means_and_what_to_try():
    fields = {"alarm": "repetition", "measured": "0.4 (at most 0.1)", "meaning": "responses end in loops"}
    told = render({"kind": "alarm", "time": 1.0, "step": 7, "fix": "a lower learning rate", **fields})
    assert told == (
        "alarm at step 7: repetition: 0.4 (at most 0.1): responses end in loops\n  try: a lower learning rate\n"
    )


def test_every_kind_of_event_can_be_shown():
    others = {"phase": {"name": "x"}, "step": step(1, 1.0), "validation": validation(1, 0.5), "warning": {"text": "x"}}
    others["failed"] = {"text": "x"}
    others["preflight"] = {"check": "x", "when": "now", "measured": "1 (at most 2)", "outcome": "passed"}
    others["alarm"] = {"alarm": "x", "measured": "1 (at most 2)", "meaning": "it rises", "fix": "lower it"}
    for kind in KINDS:
        render({"kind": kind, "time": 1.0, "step": 1} | others.get(kind, {}))


def test_a_file_gets_no_bar():
    stream = io.StringIO()
    console = Console(stream, Clock())
    console.show(step(1, 101.0))
    console.tick()
    console.close()
    assert "\r" not in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 1


def test_a_terminal_gets_elapsed_seconds_and_then_a_bar(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    stream, clock = Terminal(), Clock()
    console = Console(stream, clock)
    console.show({"kind": "phase", "time": 100.0, "name": "starting Ray"})
    clock.now = 112.0
    console.tick()
    assert "starting Ray ... 12 s" in stream.getvalue()
    console.show(step(1, 113.0))
    console.show({"kind": "checkpoint", "time": 113.5, "step": 1})
    clock.now = 114.0
    console.show(step(2, 114.0))
    clock.now = 116.0
    console.tick()
    live = stream.getvalue().rpartition("\r")[2]
    assert "training:  67%" in live and "2/3" in live and "checkpoint at step 1" in live
    console.close()


def test_the_live_line_is_redrawn_at_most_once_a_second():
    stream, clock = Terminal(), Clock()
    console = Console(stream, clock)
    console.show({"kind": "phase", "time": 100.0, "name": "starting Ray"})
    console.tick()
    drawn = stream.getvalue()
    clock.now += 0.9
    console.tick()
    assert stream.getvalue() == drawn
    clock.now += 0.2
    console.tick()
    assert stream.getvalue() != drawn
    console.close()
