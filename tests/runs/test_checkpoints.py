import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from verl_vaopd import disk
from verl_vaopd.disk import DiskFull
from verl_vaopd.runs.checkpoints import (
    MARKER,
    best_step,
    checkpoint_path,
    complete_steps,
    is_complete,
    latest_complete,
    link_best,
    mark_complete,
    prune,
    saving,
)


def write_checkpoint(checkpoints, step, complete=True):
    path = checkpoint_path(checkpoints, step)
    (path / "actor" / "huggingface").mkdir(parents=True)
    (path / "actor" / "model_world_size_1_rank_0.pt").write_bytes(b"weights")
    (path / "actor" / "huggingface" / "config.json").write_text("{}")
    (path / "data.pt").write_bytes(b"data")
    if complete:
        mark_complete(path)
    return path


def validations(**accuracy):
    return [{"step": int(step.removeprefix("step")), "accuracy": value} for step, value in accuracy.items()]


def test_a_checkpoint_counts_only_once_it_is_marked(tmp_path):
    path = write_checkpoint(tmp_path, 10, complete=False)
    assert not is_complete(path)
    mark_complete(path)
    assert is_complete(path)


def test_a_marked_checkpoint_that_lost_or_changed_files_does_not_count(tmp_path):
    lost, short = write_checkpoint(tmp_path, 1), write_checkpoint(tmp_path, 2)
    (lost / "data.pt").unlink()
    (short / "actor" / "model_world_size_1_rank_0.pt").write_bytes(b"weigh")
    assert complete_steps(tmp_path) == []


def test_an_empty_checkpoint_cannot_be_marked(tmp_path):
    (tmp_path / "global_step_1").mkdir()
    with pytest.raises(ValueError, match="no files"):
        mark_complete(tmp_path / "global_step_1")


def test_the_latest_is_the_highest_complete_step_as_a_number(tmp_path):
    for step in (2, 9, 10):
        write_checkpoint(tmp_path, step)
    write_checkpoint(tmp_path, 20, complete=False)
    (tmp_path / "global_step_tmp").mkdir()
    assert latest_complete(tmp_path) == tmp_path / "global_step_10"
    assert complete_steps(tmp_path) == [2, 9, 10]


def test_no_checkpoint_no_latest(tmp_path):
    assert latest_complete(tmp_path / "absent") is None


def test_best_is_the_highest_accuracy_and_the_earliest_on_ties():
    seen = validations(step30=0.5, step10=0.4, step20=0.5, step40=0.3)
    assert best_step(seen, among=[10, 20, 30, 40]) == 20
    assert best_step(seen, among=[10, 30, 40]) == 30
    assert best_step(seen, among=[50]) is None


def test_best_ignores_an_accuracy_that_is_not_finite():
    assert best_step(validations(step1=None, step2=0.1), among=[1, 2]) == 2


def test_best_is_linked_among_complete_checkpoints_alone(tmp_path):
    for step in (10, 20):
        write_checkpoint(tmp_path, step)
    write_checkpoint(tmp_path, 30, complete=False)
    assert link_best(tmp_path, validations(step0=0.99, step10=0.4, step20=0.5, step30=0.9)) == 20
    assert os.readlink(tmp_path / "best") == "global_step_20"


def test_the_link_is_replaced_and_nothing_else_is_left(tmp_path):
    for step in (10, 20):
        write_checkpoint(tmp_path, step)
    link_best(tmp_path, validations(step10=0.4))
    link_best(tmp_path, validations(step10=0.4, step20=0.5))
    assert (tmp_path / "best").resolve() == tmp_path / "global_step_20"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "global_step_10", "global_step_20"]


def test_a_stale_link_is_removed(tmp_path):
    (tmp_path / "best").symlink_to("global_step_5")
    assert link_best(tmp_path, []) is None
    assert not (tmp_path / "best").is_symlink()


def test_pruning_keeps_the_latest_and_the_best_and_what_is_half_written(tmp_path):
    for step in (10, 20, 30, 40):
        write_checkpoint(tmp_path, step)
    half_written = write_checkpoint(tmp_path, 5, complete=False)
    link_best(tmp_path, validations(step10=0.3, step20=0.5, step30=0.4))
    assert prune(tmp_path, keep=1) == [10, 30]
    assert complete_steps(tmp_path) == [20, 40]
    assert half_written.exists()
    assert not checkpoint_path(tmp_path, 10).exists()


class Killed(Exception):
    pass


@pytest.mark.parametrize("moment", range(7))
def test_a_kill_while_pruning_leaves_what_is_needed_and_the_next_pruning_ends_it(tmp_path, monkeypatch, moment):
    """Killed before one of three renames, or in the middle of one of three removals; 6 is after them."""
    remove = shutil.rmtree
    for step in (10, 20, 30, 40, 50, 60):
        write_checkpoint(tmp_path, step)
    link_best(tmp_path, validations(step10=0.3, step20=0.5, step30=0.4))
    calls = iter(range(100))

    def until_killed(change):
        def changing(*arguments):
            if next(calls) == moment:
                if change is remove:
                    (arguments[0] / "data.pt").unlink()
                raise Killed
            return change(*arguments)

        return changing

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", until_killed(Path.rename))
        patch.setattr(shutil, "rmtree", until_killed(remove))
        with contextlib.suppress(Killed):
            assert prune(tmp_path, keep=2) == [10, 30, 40] and moment == 6
    assert {20, 50, 60} <= set(complete_steps(tmp_path))
    assert latest_complete(tmp_path) == tmp_path / "global_step_60" and is_complete((tmp_path / "best").resolve())
    prune(tmp_path, keep=2)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["best", "global_step_20", "global_step_50", "global_step_60"]


def test_pruning_leaves_what_somebody_has_put_there(tmp_path):
    for step in (10, 20):
        write_checkpoint(tmp_path, step)
    notes = checkpoint_path(tmp_path, 10) / "actor" / "notes.txt"
    notes.parent.mkdir(exist_ok=True)
    notes.write_text("mine")
    assert prune(tmp_path, keep=1) == [10]
    assert notes.read_text() == "mine"
    assert [path.name for path in checkpoint_path(tmp_path, 10).rglob("*") if path.is_file()] == ["notes.txt"]


def test_a_file_named_best_is_not_replaced(tmp_path):
    write_checkpoint(tmp_path, 10)
    (tmp_path / "best").write_text("mine")
    with pytest.raises(ValueError, match="best: got a file or directory, expected a link"):
        link_best(tmp_path, validations(step10=0.4))
    assert (tmp_path / "best").read_text() == "mine"


ENOSPC = OSError(28, "No space left on device")
TORCH = RuntimeError("[enforce fail at inline_container.cc:672] . PytorchStreamWriter failed writing file data/0")
RAY = RuntimeError("RayTaskError(OSError): ray::update() ... OSError: [Errno 122] Disk quota exceeded")


@pytest.mark.parametrize("error", [ENOSPC, TORCH, RAY])
def test_a_disk_that_fills_up_is_told_and_loses_nothing_complete(tmp_path, error):
    write_checkpoint(tmp_path, 10)
    step_dir = checkpoint_path(tmp_path, 20)
    with pytest.raises(DiskFull) as told, saving(step_dir, needed=3 << 20):
        step_dir.mkdir()
        (step_dir / "half.pt").write_bytes(b"x")
        raise error
    for part in ("the disk is full", str(step_dir), "the checkpoint global_step_20 needs about 3.0 MiB", "free"):
        assert part in str(told.value)
    assert latest_complete(tmp_path) == checkpoint_path(tmp_path, 10)
    assert not step_dir.exists(), "half a checkpoint keeps the next attempt from its room"


def test_another_error_while_saving_is_passed_on(tmp_path):
    step_dir = checkpoint_path(tmp_path, 20)
    with pytest.raises(RuntimeError, match="NCCL"), saving(step_dir, needed=1):
        step_dir.mkdir()
        raise RuntimeError("NCCL timeout")
    assert step_dir.exists()


def test_room_is_asked_for_before_anything_is_written(tmp_path, monkeypatch):
    """As much as weights and optimizer are, or as the last checkpoint was, whichever is more."""
    step_dir = checkpoint_path(tmp_path, 20)
    monkeypatch.setattr(disk, "free_bytes", lambda path: 1000)
    for needed, fits in ((1000, True), (1001, False)):
        if fits:
            with saving(step_dir, needed):
                pass
        else:
            with pytest.raises(DiskFull, match="1000 bytes free"), saving(step_dir, needed):
                raise AssertionError("nothing may be written")
    (write_checkpoint(tmp_path, 10) / "large.pt").write_bytes(bytes(2000))
    mark_complete(checkpoint_path(tmp_path, 10))
    with pytest.raises(DiskFull, match=r"needs about 2\.0 KiB"), saving(step_dir, 1000):
        raise AssertionError("nothing may be written")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system of 1 MiB, which only root may")
def test_a_real_disk_that_fills_up(tmp_path):
    """torch.save on a file system of its own, which nobody else sees; and a log that goes on after it."""
    script = """
import sys, torch
from pathlib import Path
from verl_vaopd.disk import DiskFull
from verl_vaopd.files import write_text
from verl_vaopd.runs.checkpoints import complete_steps, mark_complete, saving
from verl_vaopd.runs.events import EventLog, read
root = Path(sys.argv[1])
for step, size in ((1, 100), (2, 10**7)):
    try:
        with saving(root / f"global_step_{step}", 0):
            (root / f"global_step_{step}").mkdir()
            torch.save(torch.zeros(size, dtype=torch.uint8), root / f"global_step_{step}" / "model.pt")
            mark_complete(root / f"global_step_{step}")
    except DiskFull as error:
        print(error)
print(complete_steps(root))
with EventLog(root / "events.jsonl") as log:
    written = 0
    try:
        while True:
            log.write("warning", text="x" * 10_000)
            written += 1
    except DiskFull as error:
        print(error)
    print(len(read(log.path)) == written)
"""
    command = 'mount -t tmpfs -o size=1m none "$1" && exec "$2" -c "$3" "$1"'
    shell = ["unshare", "--mount", "sh", "-c", command, "sh", str(tmp_path), sys.executable, script]
    result = subprocess.run(shell, capture_output=True, text=True)
    if "unshare" in result.stderr or "mount" in result.stderr:
        pytest.skip(f"no file system can be mounted here: {result.stderr}")
    checkpoint, steps, line, whole = result.stdout.splitlines()
    assert "the disk is full" in checkpoint and "the checkpoint global_step_2" in checkpoint
    assert steps == "[1]" and "the disk is full" in line and "events.jsonl" in line and whole == "True"


def test_pruning_everything_is_refused(tmp_path):
    with pytest.raises(ValueError, match="keep: got 0"):
        prune(tmp_path, keep=0)


def test_the_marker_survives_being_written_twice(tmp_path):
    path = write_checkpoint(tmp_path, 1)
    mark_complete(path)
    assert is_complete(path)
    assert [file.name for file in path.iterdir() if file.name.startswith(".")] == []
    assert (path / MARKER).is_file()
