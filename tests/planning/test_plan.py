"""Plans of every machine and configuration, what is advised, and what a run replaces."""

import pytest
from omegaconf import OmegaConf

from tests.planning.conftest import CONFIGURATIONS, HARDWARE, TINY, composed
from verl_vaopd.config import compose
from verl_vaopd.config.checks.batch import check_batch
from verl_vaopd.config.checks.settings import check_settings
from verl_vaopd.config.errors import Findings
from verl_vaopd.config.paths import options
from verl_vaopd.planning import advise, predict, verdict
from verl_vaopd.planning.gpus import default_gpu, gpu_named
from verl_vaopd.planning.measured import measured_in
from verl_vaopd.planning.text import as_text
from verl_vaopd.planning.workload import Responses
from verl_vaopd.platform import Gpu
from verl_vaopd.runs.events import FILE_NAME, EventLog

K = "actor_rollout_ref"
SHARE = f"{K}.rollout.gpu_memory_utilization"
POOL = ("trainer.n_gpus_per_node=4", "teacher.placement=pool")


def plan_of(*overrides, hardware="a100x8"):
    cfg = composed(f"hardware={hardware}", *overrides)
    return cfg, predict(cfg, default_gpu(cfg, (), hardware))


def test_every_recipe_is_planned_for():
    assert set(HARDWARE) == set(options("hardware"))


@pytest.mark.parametrize(("teacher", "dataset"), CONFIGURATIONS)
@pytest.mark.parametrize("hardware", HARDWARE)
def test_the_papers_configurations_on_every_machine(hardware, teacher, dataset):
    """The models fit where the recipes say so: a 32B teacher beside the student needs more than one GPU of 80 GB, and
    one of 141 GB only with it offloaded."""
    _, plan = plan_of(f"teacher={teacher}", f"dataset={dataset}", hardware=hardware)
    assert plan.memory.fits == (hardware == "a100x8" or (hardware != "cpu" and teacher != "32b"))
    assert all(phase.seconds >= 0 and phase.source == "assumed" for phase in plan.timing.phases)
    assert plan.seconds > plan.work.steps * plan.timing.step > 0
    assert plan.work.num_rows == {"geo3k": 2101, "virl39k": 38_870}[dataset]


@pytest.mark.parametrize(
    ("method", "phases"),
    [
        ("vaopd", "rollout weights queue teacher update driver"),
        ("offpolicy_kd", "weights queue teacher update driver"),
        ("papo", "rollout weights queue reference update driver"),
    ],
)
def test_a_method_has_the_phases_that_it_needs(method, phases):
    _, plan = plan_of(f"method={method}")
    assert " ".join(phase.name for phase in plan.timing.phases) == phases


def test_a_step_of_the_papers_run():
    """Within the 20 to 40 s that were reckoned by hand beforehand; 655 steps are 2101 // 16 x 5."""
    _, plan = plan_of()
    assert 20 <= plan.timing.step <= 40
    assert (plan.work.steps, plan.work.validations, plan.work.checkpoints) == (655, 15, 14)
    assert plan.disk.kept == 4
    # 64 rollouts, two views, 1,024 patches of 1,536 float32; written once and read once.
    assert plan.traffic.queue == pytest.approx(2 * 64 * 2 * 1024 * 1536 * 4, rel=0.02)
    assert plan.traffic.sync == 4 * 2_127_532_032


@pytest.mark.parametrize(
    ("hardware", "wrong", "key"),
    [
        ("h200x1", ["teacher=32b"], "teacher.param_offload"),
        ("h100x1", ["teacher=32b"], "trainer.n_gpus_per_node"),
        ("h100x1", [f"{SHARE}=0.8"], SHARE),
        ("h100x1", [f"{SHARE}=0.09"], SHARE),
        ("h100x1", ["teacher.param_offload=false", f"{SHARE}=0.5"], "teacher.param_offload"),
        ("h100x1", [f"{K}.actor.ppo_max_token_len_per_gpu=98304"], f"{K}.actor.ppo_max_token_len_per_gpu"),
        ("h100x1", ["teacher.max_tokens_per_gpu=400000"], "teacher.max_tokens_per_gpu"),
        ("h100x1", [f"{K}.model.enable_gradient_checkpointing=false"], f"{K}.model"),
        ("a100x8", [*POOL, "teacher=32b", "teacher.n_gpus=1", "teacher.dtype=float32"], "teacher.n_gpus"),
    ],
)
def test_what_is_advised_fits_and_none_of_it_is_needless(hardware, wrong, key):
    cfg, plan = plan_of(*wrong, hardware=hardware)
    assert not plan.memory.fits
    advice = advise(cfg, plan)
    assert any(override.startswith(key) for override in advice), advice
    cfg, plan = plan_of(*wrong, *advice, hardware=hardware)
    assert plan.memory.fits
    findings = Findings()
    check_batch(cfg, findings)
    check_settings(cfg, findings)
    assert not findings.problems
    for needed in advice:
        _, plan = plan_of(*wrong, *(override for override in advice if override != needed), hardware=hardware)
        assert not plan.memory.fits, needed


def test_no_advice_where_there_is_none():
    cfg, plan = plan_of(hardware="cpu")
    assert advise(cfg, plan) == []
    assert "no setting was found" in verdict(plan, [])


def test_a_gpu_that_is_here_says_its_memory_itself():
    cfg = composed()
    here = [Gpu("NVIDIA H100 80GB HBM3", 81559), Gpu("NVIDIA H100 80GB HBM3", 40000)]
    gpu = default_gpu(cfg, here, "a100x8")
    assert (gpu.memory, gpu.flops) == (40000 * 2**20, gpu_named("h100").flops)
    assert predict(cfg, here=here).memory.limit == 40000 * 2**20
    with pytest.raises(ValueError, match="got b300, expected one of a100-80gb, h100, h200, cpu"):
        gpu_named("b300")


def test_steps_that_nothing_tells():
    with pytest.raises(ValueError, match="the number of steps is not known"):
        plan_of("dataset.name=mine")
    assert plan_of("dataset.name=mine", "trainer.total_training_steps=7")[1].work.steps == 7
    assert plan_of("trainer.total_training_steps=7000")[1].work.steps == 655  # the data end before


def test_longer_responses_take_longer():
    cfg = composed()
    short, long = (predict(cfg, responses=Responses(mean, 4 * mean, "given")).timing for mean in (256, 512))
    assert short.step < long.step < 2.2 * short.step


@pytest.fixture
def run(tmp_path):
    """A run of three steps of 9 s, the first of them slower."""
    cfg = compose([*TINY, f"run.dir={tmp_path / 'run'}"])
    (tmp_path / "run").mkdir()
    OmegaConf.save(OmegaConf.create(OmegaConf.to_container(cfg, resolve=True)), tmp_path / "run" / "config.yaml")
    seconds = {"rollout": 4.0, "teacher": 1.0, "update": 2.0, "weight_sync": 0.5, "step": 9.0}
    with EventLog(tmp_path / "run" / FILE_NAME) as events:
        for step, factor in ((1, 10), (2, 1), (3, 1)):
            metrics = {f"perf/{phase}/seconds": factor * value for phase, value in seconds.items()}
            metrics |= {"vaopd/response_length/mean": 50.0, "vaopd/response_length/max": 200.0}
            events.write("step", step=step, total=3, metrics=metrics)
    return tmp_path / "run"


def test_what_a_run_has_measured_replaces_what_is_assumed(run):
    cfg = compose(TINY)
    measured = measured_in(run, cfg)
    plan = predict(cfg, measured=measured)
    assert {phase.name: phase.seconds for phase in plan.timing.phases} == {
        "rollout": 4.0, "teacher": 1.0, "update": 2.0, "weights": 0.5, "rest": 1.5,
    }  # fmt: skip
    assert {phase.source for phase in plan.timing.phases} == {"measured"}
    assert plan.timing.step == 9.0
    printed = as_text(plan, "tiny", [])
    assert f"measured: medians of 2 steps of {run}." in " ".join(printed.split())
    assert "rollout                 4.0  measured" in printed
    assert plan.work.responses == Responses(50.0, 200.0, "measured")


def test_another_job_says_nothing_of_this_one(run):
    with pytest.raises(ValueError, match=r"another job \(actor_rollout_ref.rollout.n=4 there, 8 here\)"):
        measured_in(run, compose([*TINY, "actor_rollout_ref.rollout.n=8"]))
    with pytest.raises(ValueError, match="which has no config"):
        measured_in(run.parent, compose(TINY))
