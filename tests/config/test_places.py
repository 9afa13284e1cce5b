"""Where a run writes, and what it reads its weights from: told before Ray starts, with a fix that works."""

import json
import os
from pathlib import Path

import pytest

from tests.config.conftest import CPU, no_gpus, safetensors, write_model
from verl_vaopd.config import ConfigError, compose, validate
from verl_vaopd.config.checks import places
from verl_vaopd.config.checks.weights import checkpoint_bytes, num_parameters
from verl_vaopd.platform import temporary, wandb_login

pytestmark = pytest.mark.usefixtures("verl_in_one_file")
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 4255140312\n"


def problems(*overrides):
    try:
        validate(compose([*CPU, *overrides]), hardware_probe=no_gpus)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


# ---- places


@pytest.mark.parametrize("key", ["run.root", "dataset.root"])
@pytest.mark.parametrize("below", ["", "/deep/er"])
def test_a_file_is_no_place_for_runs(workplace, key, below):
    (workplace / "file").touch()
    (problem,) = problems(f"{key}=file{below}")
    assert problem.startswith(f"{key} cannot be written") and "file" in problem and "Traceback" not in problem
    assert not problems(f"{key}=other")


def test_a_link_to_nowhere_is_no_place(workplace):
    (workplace / "link").symlink_to("gone")
    (problem,) = problems("run.root=link")
    assert "a link to gone, which is not there" in problem


def test_what_the_file_system_says_is_told(workplace, monkeypatch):
    """A read-only mount, a quota: found by writing, which root is not kept from by permissions."""
    (workplace / "runs").mkdir()
    mkdtemp = places.tempfile.mkdtemp

    def read_only(prefix, dir):
        if Path(dir).name == "runs":
            raise OSError(30, os.strerror(30))
        return mkdtemp(prefix=prefix, dir=dir)

    monkeypatch.setattr(places.tempfile, "mkdtemp", read_only)
    (problem,) = problems()
    assert "run.root cannot be written" in problem and f"Read-only file system in {workplace}/runs" in problem
    assert "run.root=DIR" in problem


def test_checking_leaves_nothing(workplace):
    before = sorted(workplace.rglob("*"))
    assert not problems("run.root=a/b", "dataset.root=c/d")
    assert sorted(workplace.rglob("*")) == before


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HOME"])
def test_a_home_that_cannot_be_written(workplace, monkeypatch, variable):
    (workplace / "home").touch()
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(workplace / "home"))
    (problem,) = problems()
    assert f"({variable}) cannot be written" in problem and f"{variable}=DIR before the command" in problem
    monkeypatch.setenv(variable, str(workplace))
    assert not problems()


@pytest.mark.parametrize("variable", temporary.VARIABLES)
def test_temporary_files_with_a_path_that_sockets_cannot_have(workplace, monkeypatch, variable):
    """The longest that is allowed is that with which Ray's own check passes."""
    from ray._private.utils import validate_socket_filepath

    def problems_in(length):
        place = f"/tmp/{'x' * length}"[:length]
        os.mkdir(place)
        try:
            monkeypatch.setenv(variable, place)
            return problems(), problems(*(f"ray_kwargs.ray_init.{key}" for key in running))
        finally:
            os.rmdir(place)

    running = ("address=auto", "num_gpus=null", "num_cpus=null")
    assert problems_in(temporary.LONGEST) == ([], [])
    (problem,), of_a_running_cluster = problems_in(temporary.LONGEST + 1)
    assert "AF_UNIX" in problem and f"{variable}=DIR" in problem and not of_a_running_cluster
    socket = f"{'x' * temporary.LONGEST}/vaopd99/ray/session_2026-11-27_16-27-39_123456_4194304/sockets/plasma_store"
    validate_socket_filepath(socket)
    with pytest.raises(OSError, match="AF_UNIX path length cannot exceed"):
        validate_socket_filepath(f"x{socket}")


def test_a_place_of_rays_own_is_checked_too(workplace):
    key = "ray_kwargs.ray_init._temp_dir"
    assert not problems(f"+{key}=/tmp/{'x' * (temporary.LONGEST_OF_RAY - len('/tmp/'))}")
    (problem,) = problems(f"+{key}=/tmp/{'x' * temporary.LONGEST_OF_RAY}")
    assert "AF_UNIX" in problem and f"{key}=/tmp/ray" in problem
    (workplace / "file").touch()
    (problem,) = problems(f"+{key}=file")
    assert f"{key} cannot be written" in problem


def test_temporary_files_without_a_place(monkeypatch):
    monkeypatch.setenv("TMPDIR", "/nowhere")
    (problem,) = problems()
    assert "TMPDIR=/nowhere" in problem and "make it, or TMPDIR=DIR" in problem


def test_a_full_disk_is_told_before(monkeypatch):
    free = places.free_bytes
    monkeypatch.setattr(places, "free_bytes", lambda path: 1 << 20 if path.name == "runs" else free(path))
    (problem,) = problems()
    assert problem.startswith("the disk of run.root is too full")
    assert "1.0 MiB free" in problem and "about 64.0 MiB at least: a checkpoint" in problem


def test_other_peoples_data_are_told_before(workplace):
    (workplace / "mine").mkdir()
    (workplace / "mine" / "train.parquet").write_text("x")
    (problem,) = problems("dataset.root=mine")
    assert "dataset.root holds something else" in problem and "train.parquet" in problem
    (problem,) = problems("method=cot_sft", "collect.path=mine")
    assert "collect.path holds something else" in problem and "train.parquet" in problem


# ---- weights


def damaged(name):
    whole = safetensors(1000)
    return {
        "pointer": POINTER,
        "cut in the header": whole[:30],
        "cut in the weights": whole[:-1],
        "longer": whole + b"x",
        "empty": b"",
        "text": b"<html>404 not found</html>",
        "no header": (2).to_bytes(8, "little") + b"[]",
    }[name]


@pytest.mark.parametrize("role", ["student", "teacher"])
@pytest.mark.parametrize(
    "damage", ["pointer", "cut in the header", "cut in the weights", "longer", "empty", "text", "no header"]
)
def test_weights_that_are_not_whole(workplace, role, damage):
    path = write_model(workplace / "model")
    write_model(workplace / "whole")
    (path / "model.safetensors").write_bytes(damaged(damage))
    other = {"student": "teacher", "teacher": "student"}[role]
    (problem,) = problems(f"{role}.path={path}", f"{other}.path={workplace / 'whole'}")
    assert problem.startswith(f"the {role}'s weights cannot be read") and "model.safetensors" in problem
    assert ("git lfs pull" in problem) == (damage == "pointer")


def test_shards_are_those_of_the_index(workplace):
    path = write_model(workplace / "model")
    (path / "model.safetensors").unlink()
    both = [f"{role}.path={path}" for role in ("student", "teacher")]
    assert all("no model.safetensors" in problem for problem in problems(*both))
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict(zip("ab", names, strict=True))}))
    (path / names[0]).write_bytes(safetensors(10))
    assert all(f"{names[1]}: not there, though" in problem for problem in problems(*both))
    (path / names[1]).write_bytes(safetensors(5))
    assert not problems(*both)
    assert num_parameters(path) == 15
    (path / "model.safetensors.index.json").write_bytes(POINTER)
    assert all("index.json: a pointer of Git LFS" in problem for problem in problems(*both))


def test_a_tokenizer_that_git_has_not_fetched(workplace):
    path = write_model(workplace / "model")
    (path / "tokenizer.json").write_bytes(POINTER)
    (problem,) = problems(f"student.path={path}", f"teacher.path={path}")
    assert "tokenizer.json: a pointer of Git LFS" in problem and "git lfs pull" in problem


def test_the_size_of_a_checkpoint_follows_weights_and_optimizer(workplace):
    path = write_model(workplace / "model")
    here = [f"student.path={path}", "teacher.path=${student.path}"]
    size = {
        key: checkpoint_bytes(compose([*CPU, *here, *more]))
        for key, more in {
            "all": [],
            "bf16": ["actor_rollout_ref.actor.fsdp_config.model_dtype=bf16"],
            "weights": ["actor_rollout_ref.actor.checkpoint.save_contents=[model]"],
            "average": ["teacher.ema_decay=0.9"],
        }.items()
    }
    assert size == {"all": 12_600, "bf16": 6_300, "weights": 4_200, "average": 16_800}
    hub_id = compose([*CPU, "student.path=Qwen/Qwen3-VL-2B-Instruct"])
    assert checkpoint_bytes(hub_id) == 0
    cached = workplace / "hub" / "models--Qwen--Qwen3-VL-2B-Instruct"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc")
    write_model(cached / "snapshots" / "abc")
    assert checkpoint_bytes(hub_id) == 12_600


# ---- the tracker


def test_a_tracker_without_a_key_is_told_with_the_ways_out(monkeypatch):
    monkeypatch.setattr(wandb_login, "problem", lambda: "no key for the server")
    assert not problems()
    (problem,) = problems("wandb=true")
    assert "no key for the server" in problem and "WANDB_MODE=offline" in problem
    monkeypatch.undo()


@pytest.mark.slow
def test_wandb_itself_is_asked(workplace, monkeypatch):
    """Without a key, with one that is none, and offline, where nobody is asked."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(workplace))
    monkeypatch.setenv("NETRC", str(workplace / "none"))
    assert wandb_login.problem().startswith("no key for ")
    monkeypatch.setenv("WANDB_API_KEY", "short")
    assert "WANDB_API_KEY invalid" in wandb_login.problem()
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(wandb_login.subprocess, "run", None)
    assert wandb_login.problem() == ""
