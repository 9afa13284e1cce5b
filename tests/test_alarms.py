"""Each alarm is raised by a stream of steps that has its fault, and by no other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from verl_vaopd.alarms import METRIC, RULES, AlarmOptions, Alarms
from verl_vaopd.runs.metric_names import METRICS

NUM_STEPS, VOCABULARY = 60, 1000
HEALTHY = {
    "vaopd/visual_advantage/mean": 0.05,
    "vaopd/visual_advantage/format_share": 0.2,
    "vaopd/visual_advantage/high_tie_frac": 0.1,
    "vaopd/entropy/teacher": 0.5,
    "vaopd/entropy/policy": 0.6,
    "vaopd/repetition_frac": 0.02,
    "vaopd/response_length/mean": 200.0,
    "vaopd/truncated_frac": 0.05,
    "vaopd/log_prob_gap/mean_abs": 0.01,
    "actor/grad_norm": 1.0,
    "perf/step/total_memory_gb": 30.0,
}
Course = Callable[[int], float]


def stream(**changed: Course) -> Iterator[dict[str, float]]:
    """Steps of a healthy run whose readings waver by a tenth; `changed` metrics follow a course, times the usual."""
    wavering = np.random.default_rng(0)
    for step in range(NUM_STEPS):
        yield {
            name: usual * changed.get(name, lambda _: 1.0)(step) * wavering.uniform(0.9, 1.1)
            for name, usual in HEALTHY.items()
        }


def raised(metrics: Iterator[dict[str, float]], **options: float) -> list[tuple[int, str]]:
    """(step from 0, alarm) in order."""
    alarms = Alarms(AlarmOptions(**options), math.log(VOCABULARY))
    return [(step, alarm.rule.name) for step, row in enumerate(metrics) for alarm in alarms.read(row)]


def late(value: float) -> Course:
    """From step 30 on."""
    return lambda step: value if step >= 30 else 1.0


def drift(value: float) -> Course:
    """Evenly, to `value` times at the end."""
    return lambda step: value ** (step / (NUM_STEPS - 1))


FAULTS: dict[str, tuple[str, Course]] = {
    "teacher_blind": ("vaopd/visual_advantage/mean", late(0.0)),
    "teacher_uniform": ("vaopd/entropy/teacher", late(0.95 * math.log(VOCABULARY) / 0.5)),
    "va_in_format": ("vaopd/visual_advantage/format_share", late(4.0)),
    "high_group_of_ties": ("vaopd/visual_advantage/high_tie_frac", late(8.0)),
    "entropy": ("vaopd/entropy/policy", drift(1 / 30)),
    "repetition": ("vaopd/repetition_frac", late(10.0)),
    "length_drift": ("vaopd/response_length/mean", drift(4.0)),
    "truncation": ("vaopd/truncated_frac", late(8.0)),
    "log_prob_gap": ("vaopd/log_prob_gap/mean_abs", late(8.0)),
    "gradient_spike": ("actor/grad_norm", lambda step: 40.0 if step == 40 else 1.0),
    "memory_growth": ("perf/step/total_memory_gb", drift(2.0)),
}
HARMLESS: dict[str, Course] = {
    "vaopd/visual_advantage/mean": late(0.2),
    "vaopd/entropy/teacher": late(4.0),
    "vaopd/visual_advantage/format_share": late(1.5),
    "vaopd/visual_advantage/high_tie_frac": late(3.0),
    "vaopd/entropy/policy": drift(0.5),
    "vaopd/repetition_frac": lambda step: 20.0 if step == 30 else 1.0,  # one step of looping is none
    "vaopd/response_length/mean": drift(1.5),
    "vaopd/truncated_frac": late(2.0),
    "vaopd/log_prob_gap/mean_abs": late(2.0),
    "actor/grad_norm": lambda step: 5.0 if step % 20 == 0 else 1.0,
    "perf/step/total_memory_gb": late(0.5),  # it may fall
}


def test_every_alarm_is_tried_and_reads_a_metric_that_is_reported() -> None:
    assert {rule.name for rule in RULES} == FAULTS.keys() | {"missing_end"}
    assert {rule.metric for rule in RULES} == HEALTHY.keys() <= METRICS.keys()
    assert HARMLESS.keys() == HEALTHY.keys()


def test_a_healthy_run_raises_none() -> None:
    assert raised(stream()) == []


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_raises_its_alarm_once_and_no_other(name: str) -> None:
    metric, course = FAULTS[name]
    ((step, got),) = raised(stream(**{metric: course}))
    assert got == name
    assert 30 <= step <= 45


@pytest.mark.parametrize("metric", HARMLESS)
def test_what_changes_within_its_bound_raises_none(metric: str) -> None:
    assert raised(stream(**{metric: HARMLESS[metric]})) == []


def test_entropy_and_length_are_told_in_both_directions() -> None:
    assert [name for _, name in raised(stream(**{"vaopd/entropy/policy": drift(30.0)}))] == ["entropy"]
    assert [name for _, name in raised(stream(**{"vaopd/response_length/mean": drift(0.25)}))] == ["length_drift"]


def test_a_run_without_end_tokens_is_truncated_as_well() -> None:
    found = raised(stream(**{"vaopd/truncated_frac": lambda _: 19.0}))
    assert found == [(9, "truncation"), (9, "missing_end")]


def test_one_that_went_back_can_be_raised_again() -> None:
    course = lambda step: 10.0 if step < 15 or step >= 40 else 1.0  # noqa: E731
    assert [name for _, name in raised(stream(**{"vaopd/repetition_frac": course}))] == ["repetition"] * 2


def test_a_gradient_among_zeros_is_no_spike() -> None:
    """Of a policy gradient with a reward that is mostly the same for all siblings."""
    assert raised(stream(**{"actor/grad_norm": lambda step: float(step % 5 == 0)})) == []


def test_what_is_not_reported_or_not_finite_is_no_reading() -> None:
    absent = ({name: value for name, value in row.items() if name == "actor/grad_norm"} for row in stream())
    assert raised(absent) == []
    broken = ({name: math.nan for name in row} | {"vaopd/entropy/policy": None} for row in stream())
    assert raised(broken) == []


def test_a_resumed_run_goes_on_where_it_was() -> None:
    """What stood is not told again, and the beginning is that of the run."""
    rows = list(stream(**{"vaopd/entropy/policy": drift(1 / 30)}))
    resumed = Alarms(AlarmOptions(), math.log(VOCABULARY), rows[:50])
    assert resumed.metrics()[f"{METRIC}entropy"] == 1
    assert [resumed.read(row) for row in rows[50:]] == [[]] * 10
    assert {name for name, stands in resumed.metrics().items() if stands} == {f"{METRIC}entropy"}


def test_the_window_is_the_configurations() -> None:
    found = raised(stream(**{"vaopd/repetition_frac": late(10.0)}), window=1)
    assert found[0] == (30, "repetition")
