import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf

import verl_vaopd
from verl_vaopd.runs import run_dir


def make_config(root, **changes):
    cfg = OmegaConf.create(
        {
            "run": {"root": str(root), "name": None, "dir": "???", "seed": 3, "fresh": False, "changed_data": False},
            "preflight": {"waive": []},
            "alarms": {"window": 10},
            "method": {"name": "vaopd"},
            "student": {"name": "tiny", "path": "/models/student"},
            "teacher": {"name": "8b"},
            "dataset": {"name": "mine"},
            "data": {"train_files": "data/train.parquet", "val_files": ["data/validation.parquet"]},
            "vaopd": {"high_frac": 0.2},
            "ray_kwargs": {"ray_init": {"address": None}},
            "trainer": {
                "default_local_dir": "${run.dir}/checkpoints",
                "experiment_name": "${run.name}",
                "n_gpus_per_node": 2,
                "nnodes": 1,
            },
        }
    )
    for key, value in changes.items():
        OmegaConf.update(cfg, key.replace("__", "."), value)
    return cfg


def prepare(cfg):
    """Prepare and release the lock, as a process that has ended."""
    run = run_dir.prepare(cfg, ["vaopd.high_frac=0.2"], ["vaopd", "train"])
    os.close(run.lock)
    return run


def write_rows(path, *images):
    """A data file whose rows have one image each: bytes, or the name of a file beside it."""
    items = [{"bytes": image if isinstance(image, bytes) else None, "path": str(image)} for image in images]
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"images": [[item] for item in items]}), path)


@pytest.fixture
def cfg(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for split in ("train", "validation"):
        write_rows(tmp_path / "data" / f"{split}.parquet", b"an image")
    return make_config(tmp_path)


def test_the_name_says_recipes_seed_and_a_hash(cfg, tmp_path):
    path = run_dir.choose(cfg)
    assert path.parent == tmp_path
    assert path.name == f"vaopd-tiny-8b-mine-s3-{run_dir.fingerprint(cfg, ranks=False)[:8]}"
    assert not path.exists()


@pytest.mark.parametrize("change", [{"vaopd__high_frac": 0.3}, {"run__seed": 4}, {"student__path": "/models/other"}])
def test_what_changes_the_result_changes_the_hash(cfg, tmp_path, change):
    assert run_dir.fingerprint(make_config(tmp_path, **change)) != run_dir.fingerprint(cfg)


@pytest.mark.parametrize(
    "change",
    [
        {"run__root": "/elsewhere"},
        {"run__name": "mine"},
        {"run__changed_data": True},
        {"preflight__waive": ["x"]},
        {"alarms__window": 5},
        {"ray_kwargs__ray_init__address": "10.0.0.1:6379"},
    ],
)
def test_where_it_runs_does_not_change_the_hash(cfg, tmp_path, change):
    assert run_dir.fingerprint(make_config(tmp_path, **change)) == run_dir.fingerprint(cfg)


def test_a_package_installed_elsewhere_does_not_change_the_hash(tmp_path, monkeypatch):
    hashes = set()
    for place in ("/here/verl_vaopd", "/there/verl_vaopd"):
        monkeypatch.setattr(verl_vaopd, "__file__", f"{place}/__init__.py")
        hashes.add(run_dir.fingerprint(make_config(tmp_path, student__path=f"{place}/assets/tinygeo/student")))
    assert len(hashes) == 1


def test_the_same_command_resumes_an_unfinished_run_and_never_a_finished_one(cfg):
    first = prepare(cfg)
    again = prepare(cfg)
    assert (first.resumes, again.resumes) == (False, True)
    assert again.path == first.path
    run_dir.mark_finished(first.path, step=30)
    second = prepare(cfg)
    assert second.path.name == f"{first.path.name}-2"
    assert not second.resumes
    assert prepare(cfg).path == second.path
    run_dir.mark_finished(second.path)
    assert prepare(cfg).path.name == f"{first.path.name}-3"


def test_fresh_never_resumes(cfg, tmp_path):
    first = prepare(cfg)
    fresh = prepare(make_config(tmp_path, run__fresh=True))
    assert fresh.path.name == f"{first.path.name}-2"
    assert not fresh.resumes


def test_a_name_of_ones_own_resumes_its_configuration_and_refuses_another(cfg, tmp_path):
    assert prepare(make_config(tmp_path, run__name="mine")).path == tmp_path / "mine"
    assert prepare(make_config(tmp_path, run__name="mine")).resumes
    with pytest.raises(ValueError, match=r"vaopd\.high_frac: 0\.2 there, 0\.3 now") as error:
        prepare(make_config(tmp_path, run__name="mine", vaopd__high_frac=0.3))
    assert "run.root" not in str(error.value) and "default_local_dir" not in str(error.value)
    assert prepare(make_config(tmp_path, run__name="mine")).resumes  # the refusal held no lock


@pytest.mark.parametrize("name", [None, "mine"])
@pytest.mark.parametrize(("before", "after"), [({}, {"n_gpus_per_node": 1}), ({"nnodes": 1}, {"nnodes": 2})])
def test_another_number_of_ranks_is_refused_with_the_way_to_go_on(cfg, tmp_path, name, before, after):
    """verl's checkpoints have a file per rank. The command finds its run, whose name says nothing of ranks."""

    def on(ranks):
        return make_config(tmp_path, run__name=name, **{f"trainer__{key}": value for key, value in ranks.items()})

    first = prepare(on(before))
    key, value = next(iter(after.items()))
    with pytest.raises(ValueError, match=rf"trainer\.{key}: \d there, {value} now") as error:
        prepare(on(after))
    way = f"`vaopd export {first.path} --checkpoint last --dtype float32`"
    assert way in str(error.value) and "student.path" in str(error.value)
    assert prepare(on(before)).resumes  # the refusal held no lock, and changed nothing
    assert not prepare(make_config(tmp_path, run__name=name, run__fresh=True, **{f"trainer__{key}": value})).resumes


def test_a_run_moved_to_another_root_is_resumed_there(cfg, tmp_path):
    first = prepare(cfg)
    (tmp_path / "moved").mkdir()
    first.path.rename(tmp_path / "moved" / first.path.name)
    moved = prepare(make_config(tmp_path / "moved"))
    assert moved.resumes
    assert OmegaConf.load(moved.path / "config.yaml").trainer.default_local_dir == f"{moved.path}/checkpoints"


def test_a_directory_that_was_never_written_down_is_new(cfg):
    run_dir.choose(cfg).mkdir(parents=True)
    assert not prepare(cfg).resumes


def test_the_directory_holds_the_resolved_configuration_and_what_ran(cfg):
    path = prepare(cfg).path
    stored = OmegaConf.to_container(OmegaConf.load(path / "config.yaml"), resolve=False)
    assert stored["run"]["dir"] == str(path)
    assert stored["trainer"]["default_local_dir"] == f"{path}/checkpoints"
    assert stored["trainer"]["experiment_name"] == path.name
    assert (path / "overrides.txt").read_text() == "vaopd.high_frac=0.2\n"
    versions = json.loads((path / "versions.json").read_text())
    assert versions["seed"] == 3
    assert versions["command"] == "vaopd train"
    assert versions["packages"]["numpy"] == np.__version__
    assert versions["packages"]["flash-attn"] is None or versions["hardware"]["gpus"]
    assert versions["hardware"]["cpu_cores"] >= 1
    assert len((path / "launches.jsonl").read_text().splitlines()) == 1
    prepare(cfg)
    assert len((path / "launches.jsonl").read_text().splitlines()) == 2


def test_a_resume_with_other_software_says_so(cfg, monkeypatch):
    assert prepare(cfg).changes == ()
    versions = run_dir.package_versions() | {"verl": "0.0.1"}
    monkeypatch.setattr(run_dir, "package_versions", lambda: versions)
    (change,) = prepare(cfg).changes
    assert change.startswith("verl: ") and change.endswith("0.0.1 now")


def test_changed_data_are_refused_or_recorded(cfg, tmp_path):
    held_out, image = Path("data/validation.parquet"), Path("data/figure.png")
    image.write_bytes(b"as it was")
    write_rows(held_out, "figure.png")
    path = prepare(cfg).path
    os.utime(held_out)  # copied anew: what counts is the content
    assert prepare(cfg).changes == ()
    image.write_bytes(b"another one")
    write_rows(held_out, "figure.png")
    with pytest.raises(ValueError, match=r"other data than it began with, in .*/validation\.parquet or the images"):
        prepare(cfg)
    goes_on = make_config(tmp_path, run__changed_data=True)
    run = prepare(goes_on)
    assert (run.path, run.resumes) == (path, True)
    assert run.changes == (f"{held_out}: another content than at the start",)
    recorded = [json.loads(line)["data"] for line in (path / "launches.jsonl").read_text().splitlines()]
    assert [set(data) for data in recorded] == [{"data/train.parquet", str(held_out)}] * 3
    assert recorded[0] == recorded[1] != recorded[2]


def test_two_processes_never_train_in_one_directory(cfg):
    run = run_dir.prepare(cfg, [], ["vaopd"])
    with pytest.raises(ValueError, match=f"process {os.getpid()} trains in") as error:
        run_dir.prepare(cfg, [], ["vaopd"])
    assert "run.fresh=true" in str(error.value)
    os.close(run.lock)


def test_a_child_that_inherits_the_lock_keeps_it(cfg):
    run = run_dir.prepare(cfg, [], ["vaopd"])
    child = subprocess.Popen([sys.executable, "-c", "input()"], pass_fds=[run.lock], stdin=subprocess.PIPE)
    os.close(run.lock)
    with pytest.raises(ValueError, match="trains in"):
        run_dir.prepare(cfg, [], ["vaopd"])
    child.communicate(b"\n")
    assert prepare(cfg).resumes


def test_a_run_that_another_process_finished_meanwhile_is_not_trained_again(cfg, monkeypatch):
    first = prepare(cfg).path
    real = fcntl.flock

    def finish_then_lock(descriptor, how):
        run_dir.mark_finished(first)
        return real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", finish_then_lock)
    assert prepare(cfg).path.name == f"{first.name}-2"
