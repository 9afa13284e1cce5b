import copy
import functools
import json
import subprocess
import sys
import types
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import verl_vaopd.config
from verl_vaopd import cli
from verl_vaopd.commands import data as data_command
from verl_vaopd.commands import supervisor
from verl_vaopd.commands import train as train_command
from verl_vaopd.config import ConfigError, Problem
from verl_vaopd.rollout import row_check
from verl_vaopd.runs.checkpoints import checkpoint_path, link_best, mark_complete

HEAVY = {"torch", "ray", "verl", "vllm", "transformers", "tensordict", "matplotlib", "pandas", "datasets"}
TINY = ["hardware=cpu", "student=tiny", "teacher=tiny", "dataset=tinygeo"]


def run_cli(*arguments, cwd):
    """Exit code, stdout, message and the top-level packages that a `vaopd` process imported."""
    command = [sys.executable, "-X", "importtime", "-m", "verl_vaopd.cli", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    lines = result.stderr.splitlines()
    imports = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines if line.startswith("import time:")}
    message = "\n".join(line for line in lines if not line.startswith("import time:"))
    return result.returncode, result.stdout, message, imports


def test_a_mistyped_key_is_told_without_importing_anything_heavy_or_leaving_a_trace(tmp_path):
    code, out, message, imports = run_cli("train", *TINY, "vaopd.hihg_frac=0.3", cwd=tmp_path)
    assert code == 2
    assert "omegaconf" in imports  # the list of imports is one
    assert not imports & HEAVY
    assert "vaopd.hihg_frac" in message and "vaopd.high_frac" in message and "Traceback" not in message
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_cfg_job_prints_the_resolved_configuration_and_starts_nothing(tmp_path):
    code, out, message, imports = run_cli("train", "--cfg", "job", *TINY, "vaopd.high_frac=0.3", cwd=tmp_path)
    cfg = OmegaConf.create(out)
    assert (code, message) == (0, "")
    assert cfg.vaopd.high_frac == 0.3
    assert cfg.trainer.default_local_dir == f"{cfg.run.dir}/checkpoints"
    assert "${" not in out
    assert not imports & HEAVY
    assert list(tmp_path.iterdir()) == []


def test_a_plan_needs_nothing_heavy_and_leaves_no_trace(tmp_path):
    code, out, message, imports = run_cli("plan", "--json", *TINY, cwd=tmp_path)
    assert (code, message) == (0, "")
    assert json.loads(out)["fits"]
    assert not imports & HEAVY
    assert list(tmp_path.iterdir()) == []


def test_help_is_light(tmp_path):
    code, out, _, imports = run_cli("--help", cwd=tmp_path)
    assert code == 0
    assert all(command in out for command in ("train", "export", "report", "doctor", "tinygeo"))
    assert not imports & (HEAVY | {"hydra", "omegaconf"})


@pytest.mark.parametrize(
    "arguments", [["frobnicate"], [], ["train", "--foo"], ["report"], ["report", "a", "b"], ["tinygeo"]]
)
def test_wrong_usage_shows_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        cli.main(arguments)
    assert error.value.code == 2
    assert "usage: vaopd" in capsys.readouterr().err


@pytest.fixture
def composed(monkeypatch):
    """The overrides that reach the composition, which then fails."""
    seen = []

    def compose(overrides):
        seen.extend(overrides)
        raise ValueError("enough")

    monkeypatch.setattr(train_command, "compose", compose)
    return seen


def test_overrides_may_stand_on_either_side_of_an_option(composed):
    assert cli.main(["train", *TINY, "a=1", "--cfg", "job", "+b=-2", "~c"]) == 2
    assert composed == [*TINY, "a=1", "+b=-2", "~c"]


def test_groups_that_are_not_chosen_get_their_defaults(composed):
    cli.main(["train", "hardware=cpu", "method=opd"])
    assert set(composed) == {*TINY, "method=opd"}


def test_the_options_of_tinygeo_build_are_its_own(monkeypatch):
    seen = []
    build = types.ModuleType("verl_vaopd.data.tinygeo.build")
    build.main = lambda arguments: seen.append(arguments) or 0
    monkeypatch.setitem(sys.modules, "verl_vaopd.data.tinygeo.build", build)
    monkeypatch.setattr("verl_vaopd.data.tinygeo.build", build, raising=False)
    assert cli.main(["tinygeo", "build", "--out", "x", "-h"]) == 0
    assert seen == [["--out", "x", "-h"]]


CHILD = """
import sys
import types
from pathlib import Path
from pathlib import Path
from verl_vaopd.runs.checkpoints import checkpoint_path, link_best, mark_complete
from verl_vaopd.runs.events import EventLog, validations
from verl_vaopd.runs.run_dir import mark_finished
run = Path(sys.argv[sys.argv.index("--run-dir") + 1])
limits = {"accuracy_low": 0.1, "accuracy_high": 0.9, "n_questions": 8, "n_samples": 32, "n_missing": 0}
with EventLog(run / "events.jsonl") as log:
    log.write("validation", step=0, accuracy=0.3, **limits)
    log.write("validation", step=1, accuracy=0.4, **limits)
    log.write("step", step=1, total=1, metrics={"vaopd/loss": 0.5})
    step = checkpoint_path(run / "checkpoints", 1)
    step.mkdir(parents=True)
    (step / "data.pt").write_bytes(b"x")
    mark_complete(step)
    log.write("finished")
link_best(run / "checkpoints", validations(run / "events.jsonl"))
mark_finished(run)
"""


@pytest.fixture(scope="module")
def tiny_config():
    return verl_vaopd.config.compose(TINY)


@pytest.fixture
def train(tmp_path, monkeypatch, capfd, tiny_config):
    """`vaopd train` whose training process runs a script; returns exit code and output."""

    def run(script):
        (tmp_path / "child.py").write_text(script)
        command = [sys.executable, str(tmp_path / "child.py")]
        monkeypatch.setattr(supervisor, "run", functools.partial(real, command=command))
        code = cli.main(["train", *TINY])
        return code, capfd.readouterr()

    real = supervisor.run
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["vaopd", "train", *TINY])
    monkeypatch.setattr(train_command, "compose", lambda overrides: tiny_config)
    # The shipped models are not what is tested here.
    monkeypatch.setattr(train_command, "validate", lambda cfg: [])
    return run


def test_a_training_ends_with_its_table_its_directory_and_what_to_try_next(train, tmp_path, capfd):
    code, output = train(CHILD)
    (run,) = (tmp_path / "runs").iterdir()
    lines = output.out.splitlines()
    assert code == 0
    assert lines[0] == f"run  runs/{run.name} (new)"
    assert lines[1] == f"log  runs/{run.name}/train.log"
    assert "| best   | 1    | 40.0 % [10.0, 90.0] | not computed |" in lines
    assert lines[-3] == f"learning curve  runs/{run.name}/learning_curve.png"
    assert lines[-2] == f"run directory   runs/{run.name}"
    assert lines[-1].endswith(f"export runs/{run.name}")
    (run / "learning_curve.png").unlink()
    assert cli.main(["report", str(run)]) == 0
    assert (run / "learning_curve.png").exists()
    assert capfd.readouterr().out in output.out


def test_a_training_is_told_which_rows_it_leaves_out(train, tmp_path, monkeypatch, tiny_config):
    dropping = copy.deepcopy(tiny_config)
    dropping.dataset.overlong = "drop"
    monkeypatch.setattr(train_command, "compose", lambda overrides: dropping)
    monkeypatch.setattr(row_check, "left_out_rows", lambda cfg: {Path("train.parquet"): [3]})
    code, _ = train(CHILD)
    (record,) = (tmp_path / "runs").glob("*/left_out_rows.json")
    assert code == 0 and json.loads(record.read_text()) == {"train.parquet": [3]}
    (config,) = (tmp_path / "runs").glob("*/config.yaml")
    assert OmegaConf.load(config).data.rows.left_out == str(record)


def test_a_configuration_that_cannot_run_leaves_no_directory(train, tmp_path, monkeypatch):
    def validate(cfg):
        raise ConfigError(Problem("K", got="0", expected="at least 1", fix="actor_rollout_ref.rollout.n=4"))

    monkeypatch.setattr(train_command, "validate", validate)
    code, output = train(CHILD)
    assert code == 2
    assert "expected: at least 1" in output.err
    assert not (tmp_path / "runs").exists()


def test_rows_that_cannot_be_used_leave_no_directory(train, tmp_path, monkeypatch):
    def require_rows(cfg):
        raise ValueError("data files: 3 rows or files cannot be used")

    monkeypatch.setattr(data_command, "require_rows", require_rows)
    code, output = train(CHILD)
    assert code == 2 and output.err == "vaopd: data files: 3 rows or files cannot be used\n"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("called", "program"),
    [("venv/bin/vaopd", "venv/bin/vaopd"), ("verl_vaopd/cli.py", f"{sys.executable} -m verl_vaopd.cli")],
)
def test_a_command_to_try_is_called_as_this_one_was(called, program, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / called)])
    assert train_command._next_command(tmp_path / "run") == f"{program} report run"


def test_a_vaopd_on_the_path_is_called_by_its_name(tmp_path, monkeypatch):
    program = tmp_path / "vaopd"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [str(program)])
    assert train_command._next_command(tmp_path / "run").startswith("vaopd report ")


def test_an_interrupt_before_training_ends_without_a_traceback(monkeypatch, capsys):
    def compose(overrides):
        raise KeyboardInterrupt

    monkeypatch.setattr(train_command, "compose", compose)
    assert cli.main(["train", *TINY]) == 130
    assert capsys.readouterr().err == "vaopd: interrupted\n"


def test_the_next_command_fits_what_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train_command._next_command(tmp_path / "run").endswith("report run")
    path = checkpoint_path(tmp_path / "run" / "checkpoints", 1)
    path.mkdir(parents=True)
    (path / "data.pt").write_bytes(b"x")
    mark_complete(path)
    assert train_command._next_command(tmp_path / "run").endswith("export run --checkpoint last")
    link_best(path.parent, [{"step": 1, "accuracy": 0.5}])
    assert train_command._next_command(tmp_path / "run").endswith("export run")


def test_a_failed_training_is_resumed_by_the_same_command(train, tmp_path):
    code, output = train("raise ValueError('no teacher')")
    assert code == 1
    assert "ValueError: no teacher" in output.out
    assert "| best" not in output.out
    code, output = train(CHILD)
    assert code == 0 and "(resumed)" in output.out
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_a_training_without_validation_ends_well(train):
    kept = [line for line in CHILD.splitlines() if "accuracy=" not in line]
    code, output = train("\n".join(kept))
    assert code == 0
    assert output.out.splitlines()[-1].endswith("--checkpoint last")


def test_report_and_export_of_what_is_no_run_are_a_users_mistake(tmp_path, capsys):
    assert cli.main(["report", str(tmp_path)]) == 2
    assert cli.main(["export", str(tmp_path)]) == 2
    errors = capsys.readouterr().err
    assert "got no validation" in errors and "got no complete checkpoint" in errors


def test_doctor_says_what_is_here(capsys):
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "verl 0.9.1" in out
    assert "verl.plugins: vaopd registered" in out
