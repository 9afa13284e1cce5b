"""Choosing a checkpoint and putting shards together; whole exports of real checkpoints are in tests/engine."""

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard
from torch.testing._internal.distributed.fake_pg import FakeStore

from verl_vaopd.runs.checkpoints import checkpoint_path, link_best, mark_complete
from verl_vaopd.runs.export import export, merge_shards, resolve_checkpoint


@pytest.fixture
def run(tmp_path):
    """A run with complete checkpoints 10 and 20 (best: 10) and a half-written one, 30."""
    for step in (10, 20, 30):
        path = checkpoint_path(tmp_path / "checkpoints", step)
        path.mkdir(parents=True)
        (path / "data.pt").write_bytes(b"x")
        if step < 30:
            mark_complete(path)
    link_best(tmp_path / "checkpoints", [{"step": 10, "accuracy": 0.5}, {"step": 20, "accuracy": 0.4}])
    return tmp_path


@pytest.mark.parametrize(("checkpoint", "step"), [("best", 10), ("last", 20), ("20", 20), ("10", 10)])
def test_a_complete_checkpoint_is_found(run, checkpoint, step):
    assert resolve_checkpoint(run, checkpoint) == (run / "checkpoints" / f"global_step_{step}")


@pytest.mark.parametrize("checkpoint", ["30", "11", "worst", "-1"])
def test_anything_else_is_refused_with_what_there_is(run, checkpoint):
    with pytest.raises(ValueError, match=f"got {checkpoint}, expected best, last .*complete are 10, 20"):
        resolve_checkpoint(run, checkpoint)


def test_without_a_best_one_the_others_are_named(run):
    (run / "checkpoints" / "best").unlink()
    with pytest.raises(ValueError, match="none was validated; expected last or a step"):
        resolve_checkpoint(run, "best")


def test_an_unknown_dtype_is_refused(run):
    with pytest.raises(ValueError, match="dtype: got 'float16', expected one of bfloat16, float32"):
        export(run, dtype="float16")


def test_nothing_is_overwritten(run):
    (run / "mine").mkdir()
    with pytest.raises(ValueError, match="exists"):
        export(run, out=run / "mine")


def write_shards(path, parts, placements, shape, mesh_shape=None, extra=()):
    """One file per rank, as verl names them; each rank's DTensor is made as that rank would, without the others."""
    world_size = len(parts)
    names = ("ddp", "fsdp")[-len(mesh_shape or (1,)) :]
    for rank, part in enumerate(parts):
        dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world_size)
        try:
            mesh = init_device_mesh("cpu", mesh_shape or (world_size,), mesh_dim_names=names)
            stride = (shape[1], 1)
            # A copy: a view into a larger storage cannot be saved this way.
            weight = DTensor.from_local(part.clone(), mesh, placements, shape=torch.Size(shape), stride=stride)
            state = {"weight": weight} | {name: value[rank] for name, value in dict(extra).items()}
            torch.save(state, path / f"model_world_size_{world_size}_rank_{rank}.pt")
        finally:
            dist.destroy_process_group()
    return world_size


WEIGHT = torch.arange(10.0).reshape(5, 2)


def test_uneven_shards_are_joined_in_the_order_of_ranks(tmp_path):
    world_size = write_shards(tmp_path, WEIGHT.split([2, 2, 1]), [Shard(0)], (5, 2))
    assert torch.equal(merge_shards(tmp_path, world_size, torch.float32)["weight"], WEIGHT)


def test_a_rank_may_hold_nothing_of_a_short_tensor(tmp_path):
    world_size = write_shards(tmp_path, [WEIGHT[:1], WEIGHT[:0]], [Shard(0)], (1, 2))
    assert torch.equal(merge_shards(tmp_path, world_size, torch.float32)["weight"], WEIGHT[:1])


def test_the_second_dimension_may_be_the_sharded_one(tmp_path):
    world_size = write_shards(tmp_path, WEIGHT.split(1, dim=1), [Shard(1)], (5, 2))
    assert torch.equal(merge_shards(tmp_path, world_size, torch.float32)["weight"], WEIGHT)


def test_replicas_of_hybrid_sharding_count_once(tmp_path):
    first, second = WEIGHT.split([3, 2])
    world_size = write_shards(tmp_path, [first, second, first, second], [Replicate(), Shard(0)], (5, 2), (2, 2))
    assert torch.equal(merge_shards(tmp_path, world_size, torch.float32)["weight"], WEIGHT)


def test_the_dtype_is_the_one_asked_for_and_no_detour_rounds(tmp_path):
    weight = torch.full((2, 2), 1 + 2**-20)
    world_size = write_shards(tmp_path, weight.split(1), [Shard(0)], (2, 2))
    assert torch.equal(merge_shards(tmp_path, world_size, torch.float32)["weight"], weight)
    assert merge_shards(tmp_path, world_size, torch.bfloat16)["weight"].dtype == torch.bfloat16


def test_shards_that_do_not_make_up_the_tensor_are_refused(tmp_path):
    world_size = write_shards(tmp_path, WEIGHT.split([2, 2, 1])[:2], [Shard(0)], (5, 2))
    with pytest.raises(ValueError, match=r"weight: got shards of total shape \(4, 2\), expected \(5, 2\)"):
        merge_shards(tmp_path, world_size, torch.float32)


def test_partial_sums_are_refused(tmp_path):
    world_size = write_shards(tmp_path, [WEIGHT, WEIGHT], [Partial()], (5, 2))
    with pytest.raises(ValueError, match="weight: got placements"):
        merge_shards(tmp_path, world_size, torch.float32)


def test_unsharded_tensors_must_be_the_same_on_every_rank(tmp_path):
    parts = WEIGHT.split([3, 2])
    same = {"scale": [torch.ones(1), torch.ones(1)]}
    world_size = write_shards(tmp_path, parts, [Shard(0)], (5, 2), extra=same)
    assert torch.equal(merge_shards(tmp_path, world_size, torch.float32)["scale"], torch.ones(1))
    write_shards(tmp_path, parts, [Shard(0)], (5, 2), extra={"scale": [torch.ones(1), torch.zeros(1)]})
    with pytest.raises(ValueError, match="scale: got different copies"):
        merge_shards(tmp_path, world_size, torch.float32)


def test_ranks_must_hold_the_same_keys(tmp_path):
    write_shards(tmp_path, WEIGHT.split([3, 2]), [Shard(0)], (5, 2))
    torch.save({"other": torch.ones(1)}, tmp_path / "model_world_size_2_rank_1.pt")
    with pytest.raises(ValueError, match="rank 1 and rank 0 hold different keys: other, weight"):
        merge_shards(tmp_path, 2, torch.float32)
