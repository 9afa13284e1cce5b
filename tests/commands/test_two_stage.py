"""Two stages with stand-ins for the training process and the export; see stand_in_training.py."""

import contextlib
import csv
import io
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.commands.small_runs import COMMAND, small_in
from tests.commands.stand_in_training import NUM_QUESTIONS, START, answers_at, rows_of
from verl_vaopd.analysis import two_stage as analysis
from verl_vaopd.analysis.runs import POLICY_ENTROPY, STEP_SECONDS
from verl_vaopd.commands.two_stage import PATIENCE, export_checkpoint, make_plan, two_stage
from verl_vaopd.files import RECORD
from verl_vaopd.runs import run_dir
from verl_vaopd.runs.events import EventLog
from verl_vaopd.runs.export import PROVENANCE, resolve_checkpoint
from verl_vaopd.runs.metric_names import METRICS
from verl_vaopd.runs.validation_samples import write_samples

TINY = ["hardware=cpu", "student=tiny", "teacher=tiny", "dataset=tinygeo"]
STAGES = ["stage1=opd", "stage2=grpo"]
POINTS = ("init", "boundary", "end")


@pytest.fixture
def small(tmp_path):
    with small_in(tmp_path, "two_stage") as directory:
        yield directory


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The directory of two stages that ran to their end, and what was printed."""
    root = tmp_path_factory.mktemp("finished")
    with small_in(root, "two_stage") as directory, contextlib.redirect_stdout(io.StringIO()) as out:
        assert run() == 0
    return directory, out.getvalue()


def export(run, checkpoint, out):
    """What an export leaves behind, but for the model."""
    step = int(resolve_checkpoint(run, checkpoint).name.rpartition("_")[2])
    out.mkdir()
    (out / PROVENANCE).write_text(json.dumps({"step": step, "checkpoint": checkpoint}))


def run(*overrides, own=(), export=export):
    given = {override.partition("=")[0] for override in overrides}
    stages = [stage for stage in STAGES if stage.partition("=")[0] not in given]
    return two_stage(
        [*stages, "run.name=pilot", "hardware=cpu", *overrides], list(own), ["vaopd", "two-stage"], COMMAND, export
    )


@pytest.fixture(scope="module")
def real_plan(tmp_path_factory):
    """Of real configurations, which take a second each to compose."""
    root = tmp_path_factory.mktemp("a b")
    overrides = [*STAGES, f'run.root="{root}"', "run.name=mine", "run.seed=3", "validation.n=4", *TINY]
    return root / "two-stage-mine", make_plan(overrides, [["stage2", "trainer.total_training_steps=7"]])


@pytest.mark.cpu_vllm
def test_stage_1_stops_early_and_stage_2_starts_from_its_checkpoint(real_plan):
    directory, plan = real_plan
    first, second = (job.cfg for job in plan.stages)
    assert plan.directory == directory and plan.checkpoint == "best"
    assert (first.method.name, second.method.name) == ("opd", "grpo")
    assert (first.validation.patience, second.validation.patience) == (PATIENCE, None)
    assert second.student.path == second.actor_rollout_ref.model.path == str(directory / "boundary")
    assert first.student.path == plan.points["init"].cfg.student.path
    assert (first.trainer.total_training_steps, second.trainer.total_training_steps) == (40, 7)
    for cfg in (first, second):
        assert list(cfg.validation.splits) == ["validation"]
        assert (cfg.validation.n, cfg.run.seed) == (4, 3)


@pytest.mark.cpu_vllm
def test_the_points_are_measured_alike_without_training(real_plan):
    directory, plan = real_plan
    for point, job in plan.points.items():
        cfg = job.cfg
        assert job.path == directory / f"measured-{point}"
        assert cfg.trainer.val_only and cfg.validation.before_train and cfg.validation.entropy
        assert cfg.validation.n == 16
        assert list(cfg.validation.splits) == list(plan.splits) == ["validation", "test_ood"]
        assert cfg.student.path == (str(directory / point) if point != "init" else plan.stages[0].cfg.student.path)


@pytest.mark.cpu_vllm
def test_a_run_is_the_one_that_its_recorded_overrides_make(real_plan):
    from verl_vaopd.config import compose

    job = real_plan[1].stages[1]
    again = compose(job.overrides)
    assert run_dir.fingerprint(again) == run_dir.fingerprint(job.cfg)
    assert run_dir.choose(again) == job.path


def test_overtraining_never_stops_early_and_goes_on_from_the_last_checkpoint(small):
    plan = make_plan([*STAGES, "overtrain=true", "validation.patience=5", "hardware=cpu"], [])
    assert plan.checkpoint == "last"
    assert plan.stages[0].cfg.validation.patience is None
    assert make_plan([*STAGES, "validation.patience=5"], []).stages[0].cfg.validation.patience == 5


@pytest.mark.parametrize(("overtrain", "step"), [("false", 2), ("true", 4)])
def test_the_selected_or_the_last_checkpoint_goes_on(small, overtrain, step):
    """The accuracy of stage 1 falls from step 2 to step 4."""
    assert run("stage1=cot_sft", f"overtrain={overtrain}") == 0
    assert json.loads((small / "boundary" / PROVENANCE).read_text())["step"] == step
    assert json.loads((small / "end" / PROVENANCE).read_text())["step"] == 2  # the selected one in any case


def test_other_splits_may_be_out_of_domain(small):
    plan = make_plan([*STAGES, "validation.splits=[validation,mathvista]"], [])
    assert plan.splits == ("validation", "mathvista")
    assert list(plan.stages[0].cfg.validation.splits) == ["validation"]
    assert list(plan.points["end"].cfg.validation.splits) == ["validation", "mathvista"]


@pytest.mark.parametrize(
    ("overrides", "own", "message"),
    [
        (["stage1=opd"], [], "stage2: got nothing, expected one of grpo, papo"),
        (["stage1=grpo", "stage2=grpo"], [], "stage1: got grpo, expected one of cot_sft, opd, vaopd"),
        ([*STAGES, "overtrain=perhaps"], [], "overtrain: got perhaps"),
        ([*STAGES, "method=opd"], [], "method: got method=opd"),
        ([*STAGES, "run.fresh=true"], [], "run.fresh"),
        ([*STAGES, "validation.every=-1"], [], "stage1: got validation.every=-1"),
        (STAGES, [["stage2", "checkpoint.every=-1"]], "stage2: got .*checkpoint.every=-1"),
        (STAGES, [["stage3", "a=1"]], "--for: got stage3 a=1, expected one of stage1, stage2, measure"),
        (STAGES, [["stage2", "student.path=x"]], "student.path"),
    ],
)
def test_what_makes_no_sense_is_refused(overrides, own, message, small):
    with pytest.raises(ValueError, match=message):
        make_plan(overrides, own)


def test_both_stages_and_the_points_run_to_the_table(finished):
    directory, out = finished
    assert out.index("stage 1 (opd)") < out.index("boundary: checkpoint of step 4") < out.index("stage 2 (grpo)")
    assert out.index("end: checkpoint") < out.index("init: measured")
    assert (directory / "two_stage.md").read_text() in out
    assert sorted(path.name for path in directory.iterdir() if path.name != RECORD) == [
        "boundary",
        "end",
        "entropy.csv",
        "measured-boundary",
        "measured-end",
        "measured-init",
        "stage1",
        "stage2",
        "two_stage.csv",
        "two_stage.json",
        "two_stage.md",
        "two_stage.png",
    ]


def test_the_files_have_the_numbers_of_the_runs(finished):
    directory, _ = finished
    with (directory / "two_stage.csv").open() as file:
        rows = {(r["point"], r["split"], r["quantity"], r["k"]): r for r in csv.DictReader(file)}
    for point in POINTS:
        for split in ("validation", "test_ood"):
            correct = answers_at("base", START.get(point, 0), 0, split)
            row = rows[point, split, "accuracy", ""]
            assert float(row["value"]) == pytest.approx(correct.mean())
            assert float(row["value_low"]) <= float(row["value"]) <= float(row["value_high"])
            assert float(rows[point, split, "pass_at_k", "1"]["value"]) == pytest.approx(correct.mean())
            assert float(rows[point, split, "pass_at_k", "8"]["value"]) == pytest.approx(correct.any(axis=1).mean())
            # Every wrong answer differs from all others, all right ones are alike.
            distinct = (correct == 0).sum(axis=1) + correct.any(axis=1)
            assert float(rows[point, split, "distinct_answers", "8"]["value"]) == pytest.approx(distinct.mean())
            assert float(rows[point, split, "policy_entropy", ""]["value"]) == pytest.approx(2.0)
    changes = json.loads((directory / "two_stage.json").read_text())["changes"]
    assert [(c["earlier"], c["later"]) for c in changes[:3]] == [
        ("init", "boundary"),
        ("boundary", "end"),
        ("init", "end"),
    ]
    for change in changes:
        before, after = (float(rows[change[w], change["split"], "accuracy", ""]["value"]) for w in ("earlier", "later"))
        assert change["accuracy"] == pytest.approx(after - before)


def test_the_table_says_what_matters(finished):
    directory, _ = finished
    table = (directory / "two_stage.md").read_text().splitlines()
    assert table[0].startswith("stage 1 (opd): step 4 of 4; stage 2 (grpo): step 2 of 4. Questions: validation 6")
    head = [cell.strip() for cell in table[4].split("|")[1:-1]]
    assert head == ["", "accuracy, validation", "accuracy, test_ood", "policy entropy", "distinct of 8", "pass@4"]
    (boundary,) = [line for line in table if line.startswith("| boundary ")]
    correct = answers_at("base", START["boundary"], 0, "validation")
    assert f"| {100 * correct.mean():.1f} % [" in boundary and "| 2.000 [2.000, 2.000] |" in boundary
    assert any(line.startswith("| end, minus boundary") for line in table)


def test_the_same_command_again_does_nothing_twice(finished, monkeypatch, capsys):
    directory, _ = finished
    table = (directory / "two_stage.md").read_text()
    (directory / "two_stage.md").unlink()
    monkeypatch.setattr(subprocess, "Popen", None)
    with small_in(directory.parents[1], "two_stage"):
        assert run(export=None) == 0
    assert "5 of 5 runs are finished" in capsys.readouterr().out
    assert (directory / "two_stage.md").read_text() == table


def behave(small, name, **behaviour):
    small.mkdir(parents=True, exist_ok=True)
    (small / f"{name}.json").write_text(json.dumps(behaviour))


def test_a_stage_that_dies_ends_the_command_and_the_same_command_goes_on_there(small, capsys):
    behave(small, "stage2", die="no reference model")
    assert run() == 1
    assert "no reference model" in capsys.readouterr().out
    assert (small / "boundary").exists() and not (small / "end").exists()
    assert not (small / "measured-init").exists()
    (small / "stage2.json").unlink()
    assert run() == 0
    assert "1 of 5 runs are finished" in capsys.readouterr().out
    assert len((small / "stage1" / "launches.jsonl").read_text().splitlines()) == 1


def test_a_point_that_fails_is_measured_by_the_same_command_again(small, capsys):
    behave(small, "measured-boundary", fail="no room")
    assert run() == 1
    out = capsys.readouterr().out
    log = small / "measured-boundary" / "train.log"
    assert f"boundary: failed: no room (log: {log})\n" in out and "end: measured" in out
    assert not (small / "two_stage.md").exists()
    (small / "measured-boundary.json").unlink()
    assert run() == 0


def test_a_model_of_another_checkpoint_is_not_taken_for_the_one_that_goes_on(small):
    run()
    (small / "boundary" / PROVENANCE).write_text(json.dumps({"step": 2}))
    with pytest.raises(ValueError, match="got a model of step 2, expected that of step 4"):
        run()


def test_a_stage_without_a_validated_checkpoint_has_nothing_that_goes_on(small):
    behave(small, "measured-init", fail="unused")
    run()
    for file in (small / "stage1" / "checkpoints").rglob("COMPLETE"):
        file.unlink()
    with pytest.raises(ValueError, match="no complete checkpoint"):
        run()


def test_an_export_that_fails_is_an_error(tmp_path, capfd):
    with pytest.raises(ValueError, match=r"(?s)could not export its best checkpoint.*got no complete checkpoint"):
        export_checkpoint(tmp_path, "best", tmp_path / "out")
    assert capfd.readouterr() == ("", "")


def make_stage(path, name, step, entropies):
    path.mkdir()
    with EventLog(path / "events.jsonl") as log:
        for number, entropy in enumerate(entropies, start=1):
            log.write("step", step=number, total=9, metrics={POLICY_ENTROPY: entropy})
    return analysis.Trained(name, path, step)


def test_the_trajectory_follows_the_checkpoints_that_went_on(tmp_path):
    """Stage 1 ran 3 steps and its step 2 went on: stage 2 counts on from there."""
    stages = [
        make_stage(tmp_path / "1", "stage 1", 2, [3.0, 2.0, 1.0]),
        make_stage(tmp_path / "2", "stage 2", 2, [1.5, float("nan")]),
    ]
    rows = analysis.trajectory(stages)
    assert [(row["stage"], row["path_step"], row["on_path"], row["entropy"]) for row in rows] == [
        ("stage 1", 1, True, 3.0),
        ("stage 1", 2, True, 2.0),
        ("stage 1", 3, False, 1.0),
        ("stage 2", 3, True, 1.5),
        ("stage 2", 4, True, None),
    ]


def test_the_metrics_that_are_read_are_those_that_training_writes():
    assert {POLICY_ENTROPY, STEP_SECONDS} <= METRICS.keys()


def test_failed_answers_are_missing_and_not_wrong(tmp_path):
    runs = {}
    for point in POINTS:
        runs[point] = tmp_path / point
        correct = answers_at("base", 2, 0, "validation")
        correct[0, :2] = np.nan
        write_samples(runs[point], 0, rows_of(correct, "validation", 0.1, float("nan")))
    measured, changes = analysis.measure(runs, ["validation"])
    assert measured[0].accuracy.value == pytest.approx(np.nanmean(correct, axis=1).mean())
    assert measured[0].accuracy.n_missing_samples == 2
    assert [estimate.n_questions for estimate in measured[0].pass_at] == [NUM_QUESTIONS] * 6 + [NUM_QUESTIONS - 1] * 2
    assert measured[0].distinct.n_questions == NUM_QUESTIONS - 1
    assert {change.accuracy.value for change in changes} == {0.0}
    stage = make_stage(tmp_path / "1", "stage 1", 1, [1.0])
    table = analysis.two_stage_table(measured, changes, [stage])
    assert "2 answers of init, validation failed" in table
    assert "| - " in table  # no entropy was computed


def test_the_launch_script_passes_everything_on(tmp_path):
    root = tmp_path / "clone"
    (root / "launch").mkdir(parents=True)
    (root / ".venv/bin").mkdir(parents=True)
    script = Path(__file__).parents[2] / "launch" / "run_two_stage.sh"
    (root / "launch/run_two_stage.sh").write_text(script.read_text())
    (root / "launch/setup.sh").write_text("echo set up\n")
    program = root / ".venv/bin/vaopd"
    program.write_text('#!/bin/sh\nfor word in "$@"; do echo "<$word>"; done\nexit 3\n')
    program.chmod(0o755)
    result = subprocess.run(
        ["bash", str(root / "launch/run_two_stage.sh"), "stage1=opd", "a=[b, c]"], capture_output=True, text=True
    )
    assert result.stdout.split("\n") == ["set up", "<two-stage>", "<stage1=opd>", "<a=[b, c]>", ""]
    assert result.returncode == 3
    assert os.access(script, os.X_OK)
