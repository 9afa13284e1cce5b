"""Every fix that a check prints works: obeyed, nothing else is wrong than before, and after all of them nothing at all.

A fix is `key=value ...` (or "leave KEY alone"), or several of them with "or" between; each is obeyed here. What is no
override (a variable of set-up, another machine) cannot be.
"""

import re

import pytest

from tests.config.conftest import CPU, PAPER
from verl_vaopd.config import ConfigError, compose, validate
from verl_vaopd.config.checks import hardware
from verl_vaopd.platform import Gpu

K = "actor_rollout_ref"
pytestmark = pytest.mark.usefixtures("verl_in_one_file")
NOT_DYNAMIC = [f"{K}.actor.use_dynamic_bsz=false", f"{K}.rollout.log_prob_micro_batch_size_per_gpu=2"]


@pytest.fixture(autouse=True)
def no_tracker(monkeypatch):
    """Whether wandb lets this user in is no matter of these checks."""
    monkeypatch.setenv("WANDB_MODE", "offline")


WRONG = [
    ["vaopd.mask=hgih", "method=opd"],
    ["weighting=maskd"],
    ["attention=sdap"],
    ["method=opdd"],
    ["loss.divergence=forwrd_kl"],
    ["loss.divergence=nll"],
    ["loss.divergence=null"],
    ["method=cot_sft", "dataset.overlong=drop"],
    ["method=cot_sft", "data.train_files=[${dataset.root}/train.parquet,${dataset.root}/more.parquet]"],
    ["loss.js_beta=1"],
    ["loss.top_k=0"],
    ["loss.temperature=0"],
    ["preflight.waive=[log_prob]"],
    ["preflight.num_prompts=0"],
    ["preflight.max_log_prob_gap=0"],
    ["preflight.warn_truncated_frac=0.9"],
    ["method=grpo", "loss.temperature=2"],
    ["loss.token_clip=0"],
    ["loss.reward_coef=-1"],
    ["vaopd.high_rule=mas"],
    ["vaopd.high_frac=0"],
    ["vaopd.high_mass=2"],
    ["vaopd.high_threshold=-1"],
    ["vaopd.advantage=gap"],
    ["vaopd.temperature=0"],
    ["vaopd.high_coef=2"],
    ["method=opd", "vaopd.high_coef=0.7"],
    ["method=opd", "vaopd.advantage=divergence_gap"],
    ["method.degraded_view=false"],
    ["method=grpo", "weighting=masked"],
    ["weighting.which=low"],
    ["weighting.name=masked"],
    ["view.kind=blr"],
    ["view.ratio=0"],
    ["view.block=0"],
    ["papo.view.mask_prob=2"],
    ["method=opd", "papo.perception_coef=0.1"],
    ["papo.entropy_coef=-1"],
    ["method=papo_dapo", "papo.max_accuracy=2"],
    ["method=papo_dapo", "papo.max_accuracy=0.01"],
    ["method=grpo", "loss.reward_coef=0"],
    ["method=grpo", f"{K}.rollout.n=1"],
    ["method=cot_sft", "loss.reward_coef=1"],
    ["method=cot_sft", "collect.keep=8"],
    ["method=cot_sft", "collect.temperature=0", "collect.n=8"],
    ["method=base", "validation.before_train=false"],
    ["method=opsd", "method.degraded_view=true"],
    ["method=opsd", "teacher.ema_decay=0.9", "teacher.dtype=bfloat16"],
    ["privilege.template=nowhere"],
    ["teacher.placement=pol", "teacher.n_gpus=1"],
    ["teacher.placement=pool"],
    ["teacher.n_gpus=2"],
    ["teacher.dtype=float23"],
    ["teacher.strategy=fsdp"],
    ["teacher.max_tokens_per_gpu=100"],
    ["teacher.ema_decay=1.5"],
    [f"{K}.actor.strategy=megatron"],
    [f"{K}.actor.ppo_mini_batch_size=4"],
    [f"{K}.actor.ppo_epochs=2"],
    [f"{K}.actor.use_kl_loss=true"],
    [f"{K}.actor.ppo_max_token_len_per_gpu=100"],
    [f"{K}.actor.optim.lr=0"],
    [f"{K}.rollout.max_model_len=100"],
    [f"{K}.rollout.checkpoint_engine.update_weights_bucket_megabytes=0"],
    [f"{K}.rollout.n=0"],
    [f"{K}.rollout.temperature=-1"],
    [f"{K}.rollout.top_p=0"],
    [f"{K}.rollout.tensor_model_parallel_size=2"],
    [*NOT_DYNAMIC, f"{K}.actor.ppo_micro_batch_size_per_gpu=5"],
    ["data.train_batch_size=0"],
    ["data.train_batch_size=3", f"{K}.rollout.n=1", "trainer.n_gpus_per_node=2"],
    ["data.max_prompt_length=0"],
    ["data.max_response_length=0"],
    ["dataset.num_train=7"],
    ["dataset.num_validation=3"],
    ["dataset.num_test=null"],
    ["dataset.min_pixels=5", "dataset.max_pixels=4"],
    ["validation.every=0"],
    ["validation.every=15", "checkpoint.every=10"],
    ["validation.num_questions=0"],
    ["validation.n=0"],
    ["validation.top_p=2"],
    ["validation.splits=[nowhere]"],
    ["validation.splits=[]"],
    ["validation.splits=validation"],
    ["validation.splits=null"],
    ["trainer.logger=wandb"],
    [f"{K}.actor.optim.betas=0.9"],
    ["run.seed=[1]"],
    ["validation.patience=0"],
    ["checkpoint.every=-2"],
    ["checkpoint.keep=0"],
    ["dump.every=0"],
    ["dump.num_heldout_prompts=65"],
    ["dump.num_train_rollouts=-1"],
    ["trainer.total_epochs=0"],
    ["trainer.total_training_steps=0"],
    ["trainer.total_training_steps=2000", "dataset.num_train=2048"],
    ["trainer.use_v1=false"],
    ["ray_kwargs.ray_init.num_gpus=0"],
    ["ray_kwargs.ray_init.address=auto"],
    ["run.seed=-1"],
    ["run.nam=x"],
    ["vaopd.hig_frac=0.1"],
]


ONE = ["hardware=h100x1", *PAPER[1:]]
POOL = "teacher.placement=pool"
WRONG_ON_GPUS = [
    # GPUs of the machine, recipes, what the person sets
    (8, PAPER, [POOL]),
    (8, PAPER, [POOL, f"{K}.rollout.tensor_model_parallel_size=2"]),
    (8, PAPER, [POOL, f"{K}.rollout.tensor_model_parallel_size=8"]),
    (8, PAPER, [POOL, "teacher.n_gpus=2"]),
    (8, PAPER, [POOL, "teacher.n_gpus=2", "trainer.n_gpus_per_node=6"]),
    (8, PAPER, [POOL, "teacher.n_gpus=4", "teacher.nnodes=2"]),
    (8, PAPER, ["teacher.n_gpus=2"]),
    (8, PAPER, ["trainer.n_gpus_per_node=6"]),
    (8, PAPER, ["trainer.n_gpus_per_node=0"]),
    (8, PAPER, ["trainer.nnodes=2"]),
    (8, PAPER, ["trainer.device=tpu"]),
    (8, PAPER, ["trainer.device=cpu"]),
    (8, PAPER, [f"{K}.rollout.tensor_model_parallel_size=3"]),
    (8, PAPER, [f"{K}.rollout.tensor_model_parallel_size=4", f"{K}.rollout.data_parallel_size=4"]),
    (8, PAPER, ["data.train_batch_size=3", f"{K}.rollout.n=1"]),
    (8, PAPER, [*NOT_DYNAMIC, f"{K}.actor.ppo_micro_batch_size_per_gpu=5"]),
    (8, PAPER, ["data.max_response_length=32768", f"{K}.actor.ppo_max_token_len_per_gpu=16384"]),
    (8, PAPER, [f"{K}.rollout.log_prob_max_token_len_per_gpu=100"]),
    (8, [*PAPER[:2], "student=tiny", "teacher=tiny"], []),
    (8, [*PAPER[:3], "teacher=tiny"], []),
    (8, [*PAPER[:2], "student=tiny", "teacher=8b"], []),
    (7, PAPER, []),
    (6, PAPER, ["actor_rollout_ref.rollout.tensor_model_parallel_size=8"]),
    (5, PAPER, [POOL, "teacher.n_gpus=1"]),
    (3, ["hardware=a100x8", *CPU[1:]], []),
    (1, PAPER, [POOL, "teacher.n_gpus=2"]),
    (1, ONE, [POOL]),
    (1, ONE, ["teacher.n_gpus=1"]),
    (0, PAPER, []),
    (0, ONE, [POOL, "teacher.n_gpus=2", "trainer.n_gpus_per_node=6"]),
]


def problems(overrides, gpus=0):
    """What composing or checking finds wrong, on a machine with so many GPUs."""
    try:
        cfg = compose([*overrides, "run.dir=unused"])
        validate(cfg, hardware_probe=lambda: [Gpu("NVIDIA A100-SXM4-80GB", 81920)] * gpus)
    except ConfigError as error:
        return error.problems
    return []


def key_of(override):
    return override.lstrip("+~").partition("=")[0]


def obey(overrides, problem):
    """The overrides after each of the fixes: those that it names replace the person's."""
    for alternative in re.split(r",? or ", problem.fix):
        words = re.findall(r"(?<![\w.+])\+*[a-z][\w./]*=(?:\[[^\]]*\]|[^\s,;)(]+)", alternative)
        left = re.search(r"leave (\S+) alone", alternative)
        if not words and not left:
            continue
        gone = {key_of(word) for word in words}
        if problem.what.startswith(("unknown key", "a weighting is chosen by its group")):
            # What cannot stand as it is; the fix is written instead of it.
            gone |= {key_of(override) for override in overrides if override in problem.got.split()}
        kept = [override for override in overrides if key_of(override) not in gone]
        if left:
            kept = [override for override in kept if not key_of(override).endswith(left[1])]
        yield [*kept, *(word.replace("...", "1") for word in words)]


def require_that_fixes_work(overrides, gpus=0):
    found = problems(overrides, gpus)
    assert found, "nothing is wrong with this case"
    names = {problem.what for problem in found}
    for problem in found:
        alternatives = list(obey(overrides, problem))
        assert alternatives, f"nothing to obey in {problem.fix!r}"
        for changed in alternatives:
            left = problems(changed, gpus)
            assert {other.what for other in left} <= names - {problem.what}, f"{problem}\n\nobeyed: {changed}\n{left}"
            for _ in found:
                if left:
                    changed = next(obey(changed, left[0]))
                    left = problems(changed, gpus)
            assert not left, f"{problem}\n\nall obeyed: {changed}\n{left}"


@pytest.mark.parametrize("overrides", WRONG, ids=lambda overrides: " ".join(overrides)[:70])
def test_the_fix_works(overrides):
    require_that_fixes_work([*CPU, *overrides])


@pytest.mark.parametrize(("gpus", "recipes", "overrides"), WRONG_ON_GPUS, ids=str)
def test_the_fix_works_on_gpus(gpus, recipes, overrides):
    require_that_fixes_work([*recipes, *overrides], gpus)


def test_the_fix_works_without_flash_attn(monkeypatch):
    monkeypatch.setattr(hardware, "has_flash_attn", lambda: False)
    require_that_fixes_work(ONE, gpus=1)
    for asked in ("teacher.attn_implementation=flash_attention_2", f"++{hardware.ATTENTION[0]}=flash_attention_2"):
        require_that_fixes_work([*ONE, asked], gpus=1)
        require_that_fixes_work([*ONE, "attention=sdpa", asked], gpus=1)
    require_that_fixes_work([*CPU, "attention=flash_attention_2"])
