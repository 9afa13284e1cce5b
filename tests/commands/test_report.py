import pytest

from verl_vaopd.commands.report import final_table, learning_curve
from verl_vaopd.runs.checkpoints import checkpoint_path, mark_complete
from verl_vaopd.runs.events import EventLog


def make_run(path, accuracies, checkpoints=(), **changes):
    (path / "config.yaml").write_text("validation: {n: 4}\n")
    with EventLog(path / "events.jsonl") as log:
        for step, accuracy in accuracies:
            fields = {"accuracy_low": accuracy - 0.1, "accuracy_high": accuracy + 0.1} | {
                "mean_va": step / 10,
                "mean_va_low": step / 10 - 0.05,
                "mean_va_high": step / 10 + 0.05,
            }
            counts = {"n_questions": 128, "n_samples": 512, "n_missing": 0}
            fields = {key: value for key, value in (fields | counts | changes).items() if value != "absent"}
            log.write("validation", step=step, accuracy=accuracy, **fields)
    for step in checkpoints:
        directory = checkpoint_path(path / "checkpoints", step)
        directory.mkdir(parents=True)
        (directory / "data.pt").write_bytes(b"x")
        mark_complete(directory)
    return path


def test_the_table_has_before_best_and_last_with_intervals(tmp_path):
    run = make_run(tmp_path, [(0, 0.3), (10, 0.5), (20, 0.5), (30, 0.4)], checkpoints=[10, 20, 30])
    assert final_table(run) == "\n".join(
        [
            "Held-out accuracy (avg@4, 128 questions) and mean visual advantage (VA, nats per token), "
            "with 95 % intervals",
            "",
            "|        | step | accuracy            | mean VA               |",
            "|--------|------|---------------------|-----------------------|",
            "| before | 0    | 30.0 % [20.0, 40.0] | 0.000 [-0.050, 0.050] |",
            "| best   | 10   | 50.0 % [40.0, 60.0] | 1.000 [0.950, 1.050]  |",
            "| last   | 30   | 40.0 % [30.0, 50.0] | 3.000 [2.950, 3.050]  |",
        ]
    )


def test_what_was_not_validated_before_training_has_no_row(tmp_path):
    table = final_table(make_run(tmp_path, [(10, 0.5), (20, 0.4)], checkpoints=[10, 20]))
    assert [line.split()[1] for line in table.splitlines()[4:6]] == ["best", "last"]
    assert "| before" not in table and "not validated before training" in table


def test_best_needs_a_complete_checkpoint(tmp_path):
    rows = final_table(make_run(tmp_path, [(0, 0.9), (10, 0.5), (20, 0.4)], checkpoints=[20])).splitlines()
    assert rows[5].split()[1:4] == ["best", "|", "20"]


def test_a_run_without_checkpoints_says_that_there_is_no_best(tmp_path):
    table = final_table(make_run(tmp_path, [(0, 0.3), (10, 0.5)]))
    assert "| best" not in table
    assert table.endswith("No best checkpoint: none that is complete was validated.")


def test_failed_answers_are_counted_below_the_table(tmp_path):
    table = final_table(make_run(tmp_path, [(0, 0.3)], checkpoints=[0], n_missing=3))
    assert "3 answers of `before` failed and are left out." in table


def test_alarms_are_listed_once_with_their_steps_and_last_reading(tmp_path):
    run = make_run(tmp_path, [(0, 0.3)], checkpoints=[0])
    with EventLog(run / "events.jsonl") as log:
        for step, name in ((7, "repetition"), (9, "entropy"), (7, "repetition"), (31, "repetition")):
            log.write(
                "alarm", alarm=name, step=step, measured=f"{step / 100} (at most 0.05)", meaning="loops", fix="less"
            )
    assert final_table(run).splitlines()[-2:] == [
        "Alarm `repetition` at step 7, 31: 0.31 (at most 0.05): loops.",
        "Alarm `entropy` at step 9: 0.09 (at most 0.05): loops.",
    ]


def test_a_method_without_visual_advantage(tmp_path):
    absent = dict.fromkeys(("mean_va", "mean_va_low", "mean_va_high"), "absent")
    run = make_run(tmp_path, [(0, 0.3), (10, 0.5)], **absent)
    assert final_table(run).count("not computed") == 2
    assert learning_curve(run).stat().st_size > 0


def test_a_run_without_validation_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="got no validation"):
        final_table(tmp_path)
    with pytest.raises(ValueError, match="got no validation"):
        learning_curve(tmp_path)


def test_the_learning_curve_is_a_picture_and_nothing_else_is_left(tmp_path):
    run = make_run(tmp_path, [(0, 0.3), (10, 0.5)], accuracy_low=None, accuracy_high=None)
    path = learning_curve(run)
    assert path == run / "learning_curve.png"
    assert path.read_bytes().startswith(b"\x89PNG")
    written = [".vaopd-results.json", "config.yaml", "events.jsonl", "learning_curve.png"]
    assert sorted(file.name for file in run.iterdir()) == written


def test_the_learning_curve_draws_the_values_and_their_intervals(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    drawn = []
    plot, fill = Axes.plot, Axes.fill_between
    monkeypatch.setattr(Axes, "plot", lambda self, *a, **k: drawn.append(a) or plot(self, *a, **k))
    monkeypatch.setattr(Axes, "fill_between", lambda self, *a, **k: drawn.append(a) or fill(self, *a, **k))
    learning_curve(make_run(tmp_path, [(0, 0.25), (10, 0.5)]))
    assert drawn[0] == ([0, 10], [0.25, 0.5])
    assert drawn[1] == ([0, 10], [0.15, 0.4], [0.35, 0.6])
    assert drawn[2] == ([0, 10], [0.0, 1.0])
    assert drawn[3] == ([0, 10], [-0.05, 0.95], [0.05, 1.05])
