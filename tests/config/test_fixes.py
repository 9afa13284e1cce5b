"""Every fix that a check prints works: obeyed, the same check says nothing more.

A fix is `key=value ...` (or "leave KEY alone"), or several of them with "or" between; the first is obeyed here.
"""

import re

import pytest

from tests.config.conftest import CPU, no_gpus
from verl_vaopd.config import ConfigError, compose, validate

K = "actor_rollout_ref"
pytestmark = pytest.mark.usefixtures("verl_in_one_file")
NOT_DYNAMIC = [f"{K}.actor.use_dynamic_bsz=false", f"{K}.rollout.log_prob_micro_batch_size_per_gpu=2"]

WRONG = [
    ["vaopd.mask=hgih", "method=opd"],
    ["weighting=maskd"],
    ["method=opdd"],
    ["loss.divergence=forwrd_kl"],
    ["loss.divergence=nll"],
    ["loss.divergence=null"],
    ["loss.js_beta=1"],
    ["loss.top_k=0"],
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
    ["teacher.placement=pol"],
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


def problems(overrides):
    """What composing or checking finds wrong."""
    try:
        validate(compose([*CPU, "run.dir=unused", *overrides]), hardware_probe=no_gpus)
    except ConfigError as error:
        return error.problems
    return []


def key_of(override):
    return override.lstrip("+~").partition("=")[0]


def obey(overrides, problem):
    """The overrides after the first of the fixes: those that it names replace the person's."""
    first = re.split(r",? or ", problem.fix)[0].removeprefix("e.g. ")
    words = re.findall(r"[\w./]+=(?:\[[^\]]*\]|[^\s,;]+)", first)
    if left := re.match(r"leave (\S+) alone", first):
        kept = [override for override in overrides if not key_of(override).endswith(left[1])]
        return [*kept, *words]
    assert words, f"nothing to obey in {problem.fix!r}"
    gone = {key_of(word) for word in words}
    if problem.what.startswith(("unknown key", "a weighting is chosen by its group")):
        # What cannot stand as it is; the fix is written instead of it.
        gone |= {key_of(override) for override in overrides if override in problem.got.split()}
    kept = [override for override in overrides if key_of(override) not in gone]
    return [*kept, *(word.replace("...", "1") for word in words)]


@pytest.mark.parametrize("overrides", WRONG, ids=lambda overrides: " ".join(overrides)[:70])
def test_the_fix_works(overrides):
    found = problems(overrides)
    assert found, "nothing is wrong with this case"
    for problem in found:
        again = problems(obey(overrides, problem))
        assert problem.what not in [other.what for other in again], f"{problem}\n\nobeyed:\n{again}"
