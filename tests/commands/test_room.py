"""Room for all checkpoints of a run is asked for before it starts, as far as their size and number are known."""

import pytest

from verl_vaopd.commands import room
from verl_vaopd.commands.room import require_room_for
from verl_vaopd.config import compose
from verl_vaopd.config.checks.weights import checkpoint_bytes
from verl_vaopd.runs.checkpoints import bytes_to_write, checkpoint_path, mark_complete

TINY = ["hardware=cpu", "student=tiny", "teacher=tiny", "dataset=tinygeo", "trainer.total_training_steps=45"]


def job(*more):
    return compose([*TINY, "validation.every=10", "checkpoint.every=10", *more])


@pytest.mark.parametrize(
    ("overrides", "num_written", "num_needed"),
    [
        (["checkpoint.keep=null"], 0, 5),  # steps 10, 20, 30, 40 and the last
        (["checkpoint.keep=null"], 2, 3),
        (["checkpoint.keep=null"], 5, 1),  # the last step is done again
        (["checkpoint.keep=1"], 0, 3),  # with the best, and the one that is being written
        (["checkpoint.keep=9"], 0, 5),
        (["checkpoint.keep=null", "trainer.total_training_steps=null"], 0, 1),
        (["checkpoint.every=-1"], 0, 0),
        (["method=base"], 0, 0),
        (["student.path=Qwen/none"], 0, 0),  # of unknown size
    ],
)
def test_what_is_still_to_be_written(tmp_path, overrides, num_written, num_needed):
    for step in range(num_written):
        checkpoint_path(tmp_path, step).mkdir()
        (checkpoint_path(tmp_path, step) / "data.pt").write_bytes(b"x")
        mark_complete(checkpoint_path(tmp_path, step))
    assert bytes_to_write(job(*overrides), tmp_path) == num_needed * checkpoint_bytes(job())


def test_several_runs_share_a_disk(tmp_path, monkeypatch):
    cfg = job("checkpoint.keep=1")
    one = checkpoint_bytes(cfg)
    runs = [(cfg, tmp_path / "runs" / name) for name in ("a", "b")]
    monkeypatch.setattr(room, "free_bytes", lambda path: 6 * one)
    require_room_for(runs)
    monkeypatch.setattr(room, "free_bytes", lambda path: 6 * one - 1)
    with pytest.raises(ValueError, match=rf"run.root: got .* MiB free on the file system of {tmp_path}, expected"):
        require_room_for(runs)
