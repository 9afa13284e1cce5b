"""Comparisons with a stand-in for the training process; tests/e2e trains every method for real."""

import contextlib
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.commands.small_runs import COMMAND, small_in
from tests.commands.stand_in_training import NUM_QUESTIONS, answers_at
from verl_vaopd.commands import jobs
from verl_vaopd.commands.compare import compare, make_plan
from verl_vaopd.config import ConfigError, compose, with_default_groups
from verl_vaopd.files import RECORD
from verl_vaopd.runs import run_dir

TINY = ["hardware=cpu", "student=tiny", "teacher=tiny", "dataset=tinygeo"]
LR = "actor_rollout_ref.actor.optim.lr"


@pytest.fixture
def small(tmp_path):
    with small_in(tmp_path, "compare") as directory:
        yield directory


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The directory of a comparison that ran to its end, and what it printed."""
    root = tmp_path_factory.mktemp("finished")
    with small_in(root, "compare") as directory, contextlib.redirect_stdout(io.StringIO()) as out:
        assert run() == 0
    return directory, out.getvalue()


def run(*overrides, **options):
    lists = ["method=opd,vaopd", "seeds=0,1", "run.name=pilot"]
    given = {override.partition("=")[0] for override in overrides}
    kept = [override for override in lists if override.partition("=")[0] not in given]
    return compare([*kept, "hardware=cpu", *overrides], options.get("own", []), ["vaopd", "compare"], COMMAND)


@pytest.fixture(scope="module")
def real_plan(tmp_path_factory):
    """Of real configurations, which take a second each to compose."""
    root = tmp_path_factory.mktemp("runs")
    overrides = ["method=opd,grpo", "seeds=3,5", f"run.root={root}", "run.name=mine", f"{LR}=1e-4", *TINY]
    return root, make_plan(overrides, [["grpo", f"{LR}=2e-5"]])


@pytest.mark.cpu_vllm
def test_every_method_and_seed_has_a_run_of_its_own_and_the_first_seed_comes_first(real_plan):
    root, plan = real_plan
    assert list(plan.jobs) == [("opd", 3), ("grpo", 3), ("opd", 5), ("grpo", 5)]
    assert plan.directory == root / "compare-mine"
    for (method, seed), job in plan.jobs.items():
        assert job.path == plan.directory / f"{method}-s{seed}"
        assert (job.cfg.method.name, job.cfg.run.seed) == (method, seed)
        assert job.cfg.data.seed == seed  # what follows from the seed follows


@pytest.mark.cpu_vllm
def test_overrides_for_one_method_reach_no_other(real_plan):
    _, plan = real_plan
    assert plan.jobs["opd", 3].cfg.actor_rollout_ref.actor.optim.lr == 1e-4
    assert plan.jobs["grpo", 3].cfg.actor_rollout_ref.actor.optim.lr == 2e-5
    assert plan.settings["per_method"] == {"grpo": [f"{LR}=2e-5"]}


@pytest.mark.cpu_vllm
def test_a_run_is_the_one_that_its_recorded_overrides_make(real_plan):
    job = real_plan[1].jobs["grpo", 5]
    again = compose(with_default_groups(job.overrides))
    assert run_dir.fingerprint(again) == run_dir.fingerprint(job.cfg)
    assert run_dir.choose(again) == job.path


@pytest.mark.cpu_vllm
def test_every_problem_of_every_method_is_told_before_anything_starts(tmp_path):
    own = [["opd", "vaopd.hihg_frac=1"]]
    overrides = ["method=opd,vaopd,grop", "seeds=0", f"run.root={tmp_path / 'runs'}", *TINY]
    with pytest.raises(ConfigError) as error:
        make_plan(overrides, own)
    assert "unknown key vaopd.hihg_frac (opd)" in str(error.value)
    assert "method=grop" in str(error.value) and "(grop)" in str(error.value)
    with pytest.raises(ConfigError) as error:
        make_plan(["method=opd,vaopd", "seeds=0", *TINY, "validation.n=0"], [])
    assert len(error.value.problems) == 1 and "(opd, vaopd)" in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("overrides", "own", "message"),
    [
        (["seeds=0"], [], "method: got nothing"),
        (["method=opd"], [], "seeds: got nothing"),
        (["method=opd,opd", "seeds=0"], [], "method: got opd,opd"),
        (["method=opd", "seeds=0,0"], [], "seeds: got 0,0"),
        (["method=opd", "seeds=a"], [], "seeds: got a"),
        (["method=opd", "seeds=0", "seeds=1"], [], "seeds: got it twice"),
        (["method=opd", "seeds=0", "run.seed=3"], [], "run.seed"),
        (["method=opd", "seeds=0", "run.fresh=true"], [], "run.fresh"),
        (["method=opd", "seeds=0"], [["vaopd", "a=1"]], "--for: got vaopd a=1, expected one of opd"),
        (["method=opd", "seeds=0"], [["opd"]], "--for: got opd,"),
        (["method=opd", "seeds=0"], [["opd", "run.seed=1"]], "run.seed"),
        (["method=opd", "seeds=0", "validation.every=-1"], [], "validation.every: got -1"),
    ],
)
def test_lists_that_make_no_sense_are_refused(overrides, own, message, small):
    with pytest.raises(ValueError, match=message):
        make_plan([*overrides, "hardware=cpu"], own)


def test_without_a_name_the_same_command_finds_its_directory_and_another_does_not(small):
    def directory(*overrides, own=()):
        return make_plan(["hardware=cpu", *overrides], own).directory.name

    first = directory("method=opd,vaopd", "seeds=0", "a=1")
    assert first.startswith("compare-tinygeo-")
    assert directory("method=vaopd,grpo", "seeds=0,1", "a=1") == first  # extends it
    assert directory("method=opd,vaopd", "seeds=0", "a=1", "run.root=elsewhere") == first
    assert directory("method=opd,vaopd", "seeds=0", "a=2") != first
    assert directory("method=opd,vaopd", "seeds=0", "a=1", own=[["opd", "b=1"]]) != first


def test_a_comparison_runs_to_its_table(finished):
    directory, out = finished
    told = [line for line in out.splitlines() if line.startswith("[")]
    assert [line.partition(":")[0] for line in told] == [
        "[1/4] opd, seed 0",
        "[2/4] vaopd, seed 0",
        "[3/4] opd, seed 1",
        "[4/4] vaopd, seed 1",
    ]
    assert "at step 4 | mean VA 0.040 [0.500, 0.500] | 4 steps of 3.0 s" in told[0]
    assert (directory / "comparison.md").read_text() in out
    assert sorted(path.name for path in directory.iterdir() if path.name != RECORD) == [
        "comparison.csv",
        "comparison.json",
        "comparison.md",
        "learning_curves.png",
        "opd-s0",
        "opd-s1",
        "questions.parquet",
        "steps.csv",
        "vaopd-s0",
        "vaopd-s1",
    ]
    assert len((directory / "opd-s0" / "launches.jsonl").read_text().splitlines()) == 1


def test_the_table_has_the_numbers_of_the_runs(finished):
    directory, _ = finished
    methods = {
        record["method"]: record for record in json.loads((directory / "comparison.json").read_text())["methods"]
    }
    correct = {
        (method, seed): answers_at(method, seed, 4, "validation").mean() for method in methods for seed in (0, 1)
    }
    for method, record in methods.items():
        assert record["accuracy_best_per_seed"] == pytest.approx([correct[method, 0], correct[method, 1]])
        assert record["accuracy_last"] == pytest.approx(np.mean([correct[method, 0], correct[method, 1]]))
        assert record["accuracy_last_low"] < record["accuracy_last"] < record["accuracy_last_high"]
        assert record["mean_va_best"] == pytest.approx(0.04 + 2.5 / 1000)
        assert record["seconds_per_step"] == [3.0, 4.0]  # median of 2, 3, 4, and of 3, 4, 5: the first step is left out
    assert methods["vaopd"]["difference_best"] == pytest.approx(
        methods["vaopd"]["accuracy_best"] - methods["opd"]["accuracy_best"]
    )
    assert methods["opd"]["difference_best"] is None
    table = (directory / "comparison.md").read_text().splitlines()
    (row,) = [line for line in table if line.startswith("| vaopd")]
    shares = [f"{100 * value:.1f}" for value in (methods["vaopd"]["accuracy_best"], correct["vaopd", 0])]
    assert f"| {shares[0]} % [" in row and f"({shares[1]} to " in row
    assert "3.5 (3.0 to 4.0)" in row
    assert "avg@8, 6 questions" in table[0]


def test_best_and_last_are_told_apart(small):
    """The accuracy of one method falls: it is best at its first checkpoint. Without training the start is both."""
    run("method=base,opd,grpo", "seeds=1")
    base, opd, grpo = json.loads((small / "comparison.json").read_text())["methods"]
    assert (base["best_steps"], base["last_steps"], base["seconds_per_step"]) == ([0], [0], [])
    assert (opd["best_steps"], opd["last_steps"]) == ([4], [4])
    assert (grpo["best_steps"], grpo["last_steps"]) == ([2], [4])
    start = answers_at("base", 1, 0, "validation").mean()
    for when, step in (("best", 2), ("last", 4)):
        accuracy = answers_at("grpo", 1, step, "validation").mean()
        assert grpo[f"accuracy_{when}"] == pytest.approx(accuracy)
        assert grpo[f"difference_{when}"] == pytest.approx(accuracy - start)
        assert grpo[f"mean_va_{when}"] == pytest.approx(step / 100 + 2.5 / 1000)


def test_the_raw_numbers_are_written_small_and_whole(finished):
    directory, _ = finished
    with (directory / "steps.csv").open() as file:
        steps = list(csv.DictReader(file))
    assert len(steps) == 4 * 4
    assert steps[4] == {
        "method": "vaopd",
        "seed": "0",
        "step": "1",
        "perf/step/seconds": "100.0",
        "vaopd/entropy/policy": "1.0",
    }
    questions = pq.read_table(directory / "questions.parquet").to_pylist()
    assert len(questions) == 4 * 3 * NUM_QUESTIONS
    for row in questions:
        of_question = answers_at(row["method"], row["seed"], row["step"], row["split"])[int(row["question_id"])]
        assert row["accuracy"] == pytest.approx(of_question.mean())
        assert row["num_samples"] == 8
    with (directory / "comparison.csv").open() as file:
        assert [row["accuracy_best_per_seed"].count(" ") for row in csv.DictReader(file)] == [1, 1]


def behave(small, name, **behaviour):
    small.mkdir(parents=True, exist_ok=True)
    (small / f"{name}.json").write_text(json.dumps(behaviour))


def test_a_run_that_fails_stops_no_other_and_is_resumed_by_the_same_command(small, capsys):
    behave(small, "vaopd-s0", fail="no teacher | (pool)")
    assert run() == 1
    out = capsys.readouterr().out
    assert "[2/4] vaopd, seed 0: failed: no teacher" in out and "[4/4] vaopd, seed 1: held-out" in out
    table = (small / "comparison.md").read_text()
    assert "| 1 (1 failed) |" in table and "Not finished: vaopd, seed 0: no teacher" in table
    record = json.loads((small / "comparison.json").read_text())
    assert record["not_finished"] == {"vaopd, seed 0": "no teacher | (pool)"}
    assert record["methods"][1]["failed_seeds"] == [0] and len(record["methods"][1]["difference_best_per_seed"]) == 1
    (small / "vaopd-s0.json").unlink()
    assert run() == 0
    out = capsys.readouterr().out
    assert "3 of them finished" in out and out.count("held-out accuracy") == 1
    assert "failed" not in (small / "comparison.md").read_text()
    assert len((small / "opd-s0" / "launches.jsonl").read_text().splitlines()) == 1  # was left alone


def test_a_failure_is_one_short_cause_and_the_path_of_the_log(small, capsys):
    """What Ray passes on is a traceback of a worker, thousands of characters long."""
    frames = "".join(f'  File "/site-packages/ray/worker.py", line {number}, in f\n' for number in range(100))
    behave(small, "opd-s0", fail=f"ray::Worker.update() (pid=7, ip=10.0.0.1)\n{frames}ValueError: no such rule\n")
    assert run() == 1
    out = capsys.readouterr().out
    log = small / "opd-s0" / "train.log"
    assert f"[1/4] opd, seed 0: failed: ValueError: no such rule (log: {log})\n" in out
    assert "Not finished: opd, seed 0: ValueError: no such rule\n" in (small / "comparison.md").read_text()
    assert "ray/worker.py" not in out


def test_a_run_that_is_refused_leaves_no_directory(small, capsys):
    behave(small, "vaopd-s1", refuse="a prompt is too long")
    assert run() == 1
    assert "vaopd, seed 1: failed: a prompt is too long" in capsys.readouterr().out
    assert not (small / "vaopd-s1").exists() and (small / "vaopd-s0" / "finished.json").exists()


def test_a_seed_that_the_first_method_lacks_is_in_no_difference(small):
    behave(small, "opd-s0", fail="no teacher")
    assert run() == 1
    _, vaopd = json.loads((small / "comparison.json").read_text())["methods"]
    gains = [answers_at(method, 1, 4, "validation").mean() for method in ("vaopd", "opd")]
    assert vaopd["difference_best_per_seed"] == pytest.approx([gains[0] - gains[1]])
    assert len(vaopd["accuracy_best_per_seed"]) == 2


def test_a_finished_comparison_starts_nothing_and_says_the_same_again(finished, small, monkeypatch):
    shutil.copytree(finished[0], small, symlinks=True)
    table = (small / "comparison.md").read_text()
    (small / "comparison.md").unlink()
    monkeypatch.setattr(subprocess, "Popen", None)
    assert run() == 0
    assert (small / "comparison.md").read_text() == table


def test_more_seeds_extend_a_comparison(small):
    run("seeds=0")
    assert run("seeds=0,1") == 0
    assert json.loads((small / "comparison.json").read_text())["methods"][0]["seeds"] == [0, 1]


def test_a_process_that_dies_leaves_the_rest_unfinished_and_says_why(small, capsys):
    behave(small, "opd-s1", die="Traceback (most recent call last):\nMemoryError: no room")
    assert run() == 1
    out = capsys.readouterr().out
    assert "MemoryError: no room" in out
    not_finished = json.loads((small / "comparison.json").read_text())["not_finished"]
    assert list(not_finished) == ["opd, seed 1", "vaopd, seed 1"]
    assert "2 of 4 runs did not finish" in out


def test_no_finished_run_is_no_table(small):
    behave(small, "opd-s0", die="broken")
    assert run("method=opd", "seeds=0") == 1
    assert not (small / "comparison.md").exists()


def test_a_directory_of_other_settings_is_refused_and_nothing_starts(small, capsys):
    run("seeds=0")
    with pytest.raises(ValueError, match="another configuration"):
        run("seeds=0", "validation.n=4")
    with pytest.raises(ValueError, match=r"validation\.n: 8 there, 4 now"):
        behave(small, "grpo-s0", fail="once")
        run("method=grpo", "seeds=0")
        run("method=grpo", "seeds=0", "validation.n=4")


def test_two_processes_never_run_one_comparison(small):
    plan = make_plan(["method=opd,vaopd", "seeds=0,1", "run.name=pilot", "hardware=cpu"], [])
    *_, last = plan.jobs.values()
    held = run_dir.prepare(last.cfg, last.overrides, ["vaopd"])
    with pytest.raises(ValueError, match="trains in"):
        run()
    os.close(held.lock)
    assert not (small / "opd-s0" / "events.jsonl").exists()
    assert run() == 0  # the refusal held no lock


def test_an_interrupt_ends_the_process_and_the_same_command_continues(small, tmp_path):
    behave(small, "vaopd-s0", sleep=True)
    script = tmp_path / "start.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from tests.commands import test_compare as t\n"
        "with t.small_in(t.Path.cwd(), 'compare'):\n"
        "    sys.exit(t.run())\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not (small / "sleeping").exists():
        assert process.poll() is None and time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out = process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert "Stopped by SIGINT. The same command again continues." in out
    (small / "vaopd-s0.json").unlink()
    assert run() == 0


def test_settings_that_differ_are_told_below_the_table(small):
    run(own=[["vaopd", "loss.top_k=8", "a=1"]])
    assert "Only vaopd: loss.top_k=8 a=1" in (small / "comparison.md").read_text()


def test_what_the_numbers_do_not_say_is_told_below_the_table(finished, small):
    few, many, teachers = "Fewer than 5 seeds", "Every interval is for itself", "measured with another teacher"
    table = (finished[0] / "comparison.md").read_text()
    assert few in table and many not in table and teachers not in table
    run("method=vaopd,opd,opsd", "seeds=0,1,2,3,4", own=[["opsd", "teacher.path=./init"]])
    table = (small / "comparison.md").read_text()
    assert few not in table and many in table
    assert "Mean VA of opsd is measured with another teacher than that of vaopd" in table


def test_a_quoted_path_is_one_value():
    assert jobs.quoted('a "b" c') == '"a \\"b\\" c"'


def test_what_a_method_should_say_aloud_is_said(small, capsys):
    run(own=[["vaopd", "loss.divergence=k1"]])
    (warning,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert warning.startswith("warning: vaopd: loss.divergence=k1")
