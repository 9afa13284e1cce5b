"""What is exact is exact, and settings move memory where verl moves it."""

import pytest
import torch

from tests.planning.conftest import TINY, composed
from verl_vaopd.config import compose
from verl_vaopd.planning import predict
from verl_vaopd.planning.assumptions import Assumptions
from verl_vaopd.planning.memory import state_lines
from verl_vaopd.planning.shapes import shape_of
from verl_vaopd.planning.workload import workload_of
from verl_vaopd.platform import activate

FSDP = "actor_rollout_ref.actor.fsdp_config"
SHARDED = ("student's weights", "AdamW's moments", "gradients", "teacher's weights")


def lines(*overrides):
    return {line.name: line.bytes for line in predict(composed(*overrides)).memory.lines}


def test_the_tiny_students_state_to_the_byte():
    activate()  # torchvision beside a CPU build of torch
    from transformers import AutoModelForImageTextToText

    cfg = compose(TINY)
    model = AutoModelForImageTextToText.from_pretrained(cfg.student.path, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    moments = [state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    real = {
        "student's weights": [*model.parameters()],
        "gradients": [parameter.grad for parameter in model.parameters()],
        "AdamW's moments": moments,
    }
    shape = shape_of(cfg.student.path)
    lines = state_lines(cfg, shape, workload_of(cfg, shape, Assumptions(), None))
    predicted = {line.name: line.bytes["update"] for line in lines}
    assert predicted == {name: sum(each.nbytes for each in tensors) for name, tensors in real.items()}


def test_twice_the_ranks_halve_what_is_sharded():
    eight, sixteen = lines(), lines("trainer.nnodes=2")
    for name, phases in eight.items():
        if name in SHARDED:
            assert {phase: size / 2 for phase, size in phases.items()} == sixteen[name], name
    assert sixteen["teacher's head"] == eight["teacher's head"]


def test_a_frozen_tower_has_neither_gradients_nor_moments():
    shape = shape_of("Qwen/Qwen3-VL-2B-Instruct")
    frozen = lines("actor_rollout_ref.actor.freeze_vision_tower=true")
    assert frozen["gradients"]["update"] == 4 * shape.text.parameters / 8
    assert frozen["student's weights"] == lines()["student's weights"]


@pytest.mark.parametrize(
    ("override", "line", "phases"),
    [
        ("teacher.param_offload=true", "teacher's weights", {"start"}),
        (f"{FSDP}.optimizer_offload=true", "AdamW's moments", {"update"}),
        (f"{FSDP}.param_offload=true", "student's weights", {"start", "update"}),
        (f"{FSDP}.offload_policy=true", "student's weights", {"start"}),
    ],
)
def test_where_what_is_offloaded_stays(override, line, phases):
    assert lines(override)[line].keys() == phases


def test_a_pool_takes_the_teacher_off_the_students_gpus():
    pool = lines("trainer.n_gpus_per_node=4", "teacher.placement=pool", "teacher.n_gpus=2")
    assert pool["teacher's weights"] == {"pool": 2 * shape_of("Qwen/Qwen3-VL-8B-Instruct").parameters / 2}
    assert "scoring" not in pool["activations"] and "pool" in pool["activations"]
    assert "scoring" not in pool["teacher's states"]  # they come when the update fetches them


def test_no_gradient_checkpointing_keeps_every_layer():
    kept = lines("actor_rollout_ref.model.enable_gradient_checkpointing=false")["activations"]["update"]
    assert kept > 5 * lines()["activations"]["update"]


def test_vllms_cache_holds_what_its_share_leaves():
    memory = predict(composed()).memory
    # 80 GB x 0.5 - weights in bf16 - 2 GB, over 28 layers x 8 heads x 128 keys and values in bf16.
    assert memory.cache_tokens == pytest.approx((40e9 - 2 * 2_127_532_032 - 2e9) / (2 * 28 * 8 * 128 * 2))
    # Of a share this small nothing is left for the longest rollout.
    assert not predict(composed("actor_rollout_ref.rollout.gpu_memory_utilization=0.08")).memory.fits
