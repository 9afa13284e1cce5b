"""The paper's settings (facts of arXiv:2605.21924 and of its public release), as the configuration resolves them."""

import pytest
from omegaconf import OmegaConf

from tests.config.conftest import PAPER

VAOPD = {
    # Models and data (Sec. 4.1).
    "student.path": "Qwen/Qwen3-VL-2B-Instruct",
    "actor_rollout_ref.model.path": "Qwen/Qwen3-VL-2B-Instruct",
    "teacher.path": "Qwen/Qwen3-VL-8B-Instruct",
    "dataset.min_pixels": 262144,
    "dataset.max_pixels": 4194304,
    "data.max_prompt_length": 8192,
    "actor_rollout_ref.rollout.prompt_length": 8192,
    "data.truncation": "error",
    "data.filter_overlong_prompts": False,
    "data.shuffle": True,
    # 16 prompts x 4 rollouts a step, one update each, 5 epochs.
    "data.train_batch_size": 16,
    "actor_rollout_ref.rollout.n": 4,
    "actor_rollout_ref.actor.ppo_mini_batch_size": 16,
    "actor_rollout_ref.actor.ppo_epochs": 1,
    "actor_rollout_ref.actor.shuffle": False,
    "trainer.total_epochs": 5,
    "trainer.total_training_steps": None,
    # AdamW, cosine with 5 % warm-up, clip 1.
    "actor_rollout_ref.actor.optim.optimizer": "AdamW",
    "actor_rollout_ref.actor.optim.lr": 1e-6,
    "actor_rollout_ref.actor.optim.betas": [0.9, 0.95],
    "actor_rollout_ref.actor.optim.weight_decay": 0.1,
    "actor_rollout_ref.actor.optim.lr_scheduler_type": "cosine",
    "actor_rollout_ref.actor.optim.lr_warmup_steps_ratio": 0.05,
    "actor_rollout_ref.actor.optim.lr_warmup_steps": -1,
    "actor_rollout_ref.actor.optim.min_lr_ratio": 0.0,
    "actor_rollout_ref.actor.optim.clip_grad": 1.0,
    "actor_rollout_ref.actor.freeze_vision_tower": False,
    # bf16 and FlashAttention 2; master weights in float32.
    "actor_rollout_ref.actor.fsdp_config.dtype": "bfloat16",
    "actor_rollout_ref.actor.fsdp_config.model_dtype": "fp32",
    "actor_rollout_ref.rollout.dtype": "bfloat16",
    "teacher.dtype": "bfloat16",
    "teacher.attn_implementation": "flash_attention_2",
    "actor_rollout_ref.model.override_config": {},
    # Rollouts.
    "actor_rollout_ref.rollout.temperature": 0.7,
    "actor_rollout_ref.rollout.top_p": 0.95,
    "actor_rollout_ref.rollout.top_k": -1,
    "data.max_response_length": 4096,
    "actor_rollout_ref.rollout.response_length": 4096,
    "actor_rollout_ref.rollout.max_model_len": 12288,
    # The method (Sec. 2.1, 3, 4.1).
    "method.degraded_view": True,
    "vaopd.high_frac": 0.2,
    "weighting.high_coef": 0.5,
    "weighting.temperature": 1.0,
    "weighting.eps": 1e-6,
    "weighting.rollout_weighting": True,
    "weighting.token_grouping": True,
    "view.kind": "pixelate",
    "view.ratio": 0.1,
    # Nothing else in the loss.
    "actor_rollout_ref.actor.use_kl_loss": False,
    "algorithm.use_kl_in_reward": False,
    "actor_rollout_ref.actor.entropy_coeff": 0,
    # 200 held-out problems x 8 samples at temperature 1, every 50 steps and before training.
    "data.val_max_samples": -1,
    "actor_rollout_ref.rollout.val_kwargs.n": 8,
    "actor_rollout_ref.rollout.val_kwargs.temperature": 1.0,
    "actor_rollout_ref.rollout.val_kwargs.top_p": 1.0,
    "actor_rollout_ref.rollout.val_kwargs.do_sample": True,
    "trainer.test_freq": 50,
    "trainer.val_before_train": True,
    "trainer.save_freq": 50,
    # 8 x A100.
    "trainer.n_gpus_per_node": 8,
    "trainer.nnodes": 1,
    "trainer.device": "cuda",
    "teacher.placement": "colocated",
}


@pytest.fixture(scope="module")
def paper(changed):
    return changed([*PAPER, "method=vaopd"], {})


@pytest.mark.parametrize("key", VAOPD)
def test_paper_settings(paper, key):
    value = OmegaConf.select(paper, key)
    value = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    assert value == VAOPD[key]
    assert type(value) is type(VAOPD[key]) or {type(value), type(VAOPD[key])} == {int, float}


def test_standard_opd_differs_in_the_weights_only(changed, paper):
    opd = changed([*PAPER, "method=opd"], {})
    containers = [OmegaConf.to_container(cfg) for cfg in (paper, opd)]
    vaopd_method, opd_method = (container.pop("method") for container in containers)
    vaopd_weighting, opd_weighting = (container.pop("weighting") for container in containers)
    assert containers[0] == containers[1]
    # Whether the degraded view is scored follows from the weighting.
    assert opd_method == {**vaopd_method, "name": "opd"}
    assert (paper.method.degraded_view, opd.method.degraded_view) == (True, False)
    assert vaopd_weighting["name"] == "visual_advantage"
    assert opd_weighting == {"name": "uniform"}


@pytest.mark.parametrize(
    ("option", "path"),
    [("4b", "Qwen/Qwen3-VL-4B-Instruct"), ("32b", "Qwen/Qwen3-VL-32B-Instruct")],
)
def test_the_other_teachers(changed, option, path):
    assert changed([*PAPER[:3], f"teacher={option}"], {}).teacher.path == path


PAPO = {
    "papo": {
        "papo.perception_coef": 0.02,
        "papo.entropy_coef": 0.0,
        "papo.min_accuracy": None,
        "papo.max_accuracy": None,
        "actor_rollout_ref.actor.use_kl_loss": True,
        "actor_rollout_ref.actor.kl_loss_coef": 0.01,
        "actor_rollout_ref.actor.clip_ratio_high": 0.2,
    },
    "papo_dapo": {
        "papo.perception_coef": 0.01,
        "papo.entropy_coef": 0.03,
        "papo.min_accuracy": 0.01,
        "papo.max_accuracy": 0.99,
        "actor_rollout_ref.actor.use_kl_loss": False,
        "actor_rollout_ref.actor.clip_ratio_high": 0.28,
    },
}
"""Both forms (arXiv:2507.06448)."""
PAPO_ALIKE = {
    "papo.masked_gradient": False,
    "papo.view.kind": "patch_mask",
    "papo.view.block": 14,
    "papo.view.mask_prob": 0.6,
    "loss.reward_coef": 1.0,
    "loss.divergence": None,
    "actor_rollout_ref.actor.kl_loss_type": "low_var_kl",  # k3
    "actor_rollout_ref.actor.clip_ratio_low": 0.2,
    "actor_rollout_ref.actor.loss_agg_mode": "token-mean",
}


@pytest.mark.parametrize("form", PAPO)
def test_both_forms_of_papo(changed, form):
    cfg = changed([*PAPER, f"method={form}"], {})
    expected = PAPO[form] | PAPO_ALIKE
    assert {key: OmegaConf.select(cfg, key) for key in expected} == expected
