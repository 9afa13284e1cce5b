import json
import math

import numpy as np
import pytest
import torch

from verl_vaopd.runs import events
from verl_vaopd.runs.events import EventLog

VALIDATION = {"accuracy_low": 0.2, "accuracy_high": 0.4, "n_questions": 10, "n_samples": 40, "n_missing": 0}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


def write_steps(path, steps, loss):
    with EventLog(path) as log:
        for step in steps:
            log.write("step", step=step, total=9, metrics={"vaopd/loss": loss})


def test_an_event_is_one_line_of_json_with_kind_and_time(path):
    with EventLog(path) as log:
        log.write("phase", name="starting Ray")
        log.write("finished")
    lines = path.read_text().splitlines()
    first = json.loads(lines[0])
    assert len(lines) == 2
    assert (first["kind"], first["name"]) == ("phase", "starting Ray")
    assert first["time"] > 1.7e9


def test_tensor_and_numpy_scalars_become_numbers_and_non_finite_ones_null(path):
    metrics = {
        "tensor": torch.tensor(0.5),
        "numpy": np.float32(0.25),
        "count": np.int64(3),
        "nan": math.nan,
        "inf": torch.tensor(math.inf),
    }
    with EventLog(path) as log:
        log.write("step", step=np.int64(1), total=2, metrics=metrics)
    (event,) = events.read(path)
    assert event["metrics"] == {"tensor": 0.5, "numpy": 0.25, "count": 3, "nan": None, "inf": None}
    assert event["step"] == 1


@pytest.mark.parametrize(
    ("kind", "fields"),
    [("steps", {}), ("phase", {}), ("phase", {"name": "x", "extra": 1}), ("validation", {"step": 1, **VALIDATION})],
)
def test_unknown_kinds_and_wrong_fields_are_refused(path, kind, fields):
    with EventLog(path) as log, pytest.raises(ValueError, match="expected"):
        log.write(kind, **fields)
    assert events.read(path) == []


def test_visual_advantage_may_be_absent_from_a_validation(path):
    with EventLog(path) as log:
        log.write("validation", step=0, accuracy=0.3, **VALIDATION)
        log.write("validation", step=5, accuracy=0.3, mean_va=0.5, mean_va_low=0.4, mean_va_high=0.6, **VALIDATION)
    assert [event.get("mean_va") for event in events.validations(path)] == [None, 0.5]


def test_a_half_written_last_line_is_ignored_and_cut_off_by_the_next_writer(path):
    write_steps(path, [1], loss=1.0)
    with path.open("a") as file:
        file.write('{"kind": "step", "step": 2, "tot')
    assert [event["step"] for event in events.read(path)] == [1]
    write_steps(path, [2], loss=2.0)
    assert [event["step"] for event in events.read(path)] == [1, 2]


def test_a_complete_line_that_is_no_json_is_an_error(path):
    path.write_text('{"kind": "finished", "time": 1}\nhello\n')
    with pytest.raises(ValueError, match="not JSON"):
        events.read(path)


def test_a_resumed_run_repeats_steps_and_the_last_record_counts(path):
    write_steps(path, [1, 2, 3], loss=1.0)
    write_steps(path, [3, 4], loss=2.0)  # resumed after the checkpoint of step 2
    with EventLog(path) as log:
        for accuracy in (0.5, 0.25):
            log.write("validation", step=3, accuracy=accuracy, **VALIDATION)
    losses = {event["step"]: event["metrics"]["vaopd/loss"] for event in events.steps(path)}
    assert losses == {1: 1.0, 2: 1.0, 3: 2.0, 4: 2.0}
    assert [event["accuracy"] for event in events.validations(path)] == [0.25]


def test_an_absent_log_has_no_events(path):
    assert events.read(path) == []
    assert events.end_of(path) == 0
    assert list(events.follow(path, alive=lambda: False)) == []


def test_follow_sees_what_is_written_meanwhile_and_up_to_the_end_of_the_writer(path):
    turns = iter([[1], [], [2, 3], [4]])

    def alive():
        write_steps(path, next(turns), loss=0.0)
        return events.read(path)[-1]["step"] < 4

    followed = events.follow(path, alive, poll_interval=0)
    assert [event["step"] for event in followed] == [1, 2, 3, 4]


def test_follow_waits_for_the_rest_of_a_half_written_line(path):
    line = json.dumps({"kind": "checkpoint", "time": 1.0, "step": 7}) + "\n"
    pieces = iter([line[:10], line[10:], ""])

    def alive():
        piece = next(pieces)
        with path.open("a") as file:
            file.write(piece)
        return bool(piece)

    assert [event["step"] for event in events.follow(path, alive, poll_interval=0)] == [7]


def test_follow_can_skip_what_an_earlier_launch_wrote(path):
    write_steps(path, [1, 2], loss=0.0)
    offset = events.end_of(path)
    write_steps(path, [3], loss=0.0)
    assert [event["step"] for event in events.follow(path, lambda: False, offset)] == [3]
