"""Ranges of the method's numbers, and settings of verl's that the method cannot do without or cannot do with."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from verl_vaopd.config.errors import Findings, listing

EXACT_KL_ENGINE = "vaopd_student"
"""`actor_rollout_ref.model.model_type` of the engine whose loss is the weighted exact KL and nothing else."""

FIXED = {
    "data.prompt_key": ("prompt", "docs/user_guide.md says which columns a row has"),
    "data.image_key": ("images", "docs/user_guide.md says which columns a row has"),
    "data.truncation": ("error", "an overlong prompt is an error: cutting it would cut through image tokens"),
    "data.filter_overlong_prompts": (False, "an overlong prompt is an error: dropping it would change the data"),
    "algorithm.rollout_correction": (None, "one optimizer step per batch: there is no older policy to correct for"),
    "actor_rollout_ref.hybrid_engine": (True, "student and vLLM share their GPUs"),
    "actor_rollout_ref.rollout.name": ("vllm", "rollouts come from vLLM"),
    "actor_rollout_ref.actor.ulysses_sequence_parallel_size": (1, "responses are not split across GPUs"),
    "actor_rollout_ref.actor.fsdp_config.ulysses_sequence_parallel_size": (1, "responses are not split across GPUs"),
    "trainer.max_actor_ckpt_to_keep": (None, "verl would delete the best checkpoint; checkpoint.keep does not"),
    "trainer.del_local_ckpt_after_load": (False, "a run that is interrupted again could not be resumed"),
    "trainer.use_v1": (True, "the trainer extends verl's V1 trainer"),
    "trainer.v1.trainer_mode": ("sync", "the trainer extends verl's synchronous trainer"),
}
"""Key -> (the only value that works, why)."""

NOT_IN_THE_LOSS = {
    "actor_rollout_ref.actor.entropy_coeff": 0,
    "algorithm.use_kl_in_reward": False,
    "distillation.enabled": False,
    "reward.reward_model.enable": False,
}
"""Terms and workers of verl's that our loss does not have: setting them would do nothing, or harm."""


def check_settings(cfg: DictConfig, findings: Findings) -> None:
    """Ranges, fixed values, and terms that the loss does not have."""
    _check_sampling(cfg, findings)
    for key, (value, why) in FIXED.items():
        _require_value(cfg, findings, key, value, why)
    strategies = {
        "actor_rollout_ref.actor.strategy": cfg.actor_rollout_ref.actor.strategy,
        "teacher.strategy": cfg.teacher.strategy,
    }
    for key, strategy in strategies.items():
        expected = ("fsdp2",) if cfg.trainer.device == "cpu" else ("fsdp", "fsdp2")
        findings.require(
            strategy in expected,
            f"{key} is not supported" + (" on a CPU" if cfg.trainer.device == "cpu" else ""),
            got=strategy,
            expected=listing(expected),
            fix=f"{key}=fsdp2",
        )
    sampler = cfg.trainer.v1.sampler
    if sampler.custom_sampler.path is not None:
        why = f"{sampler.custom_sampler.name} does not do it (verl gives it no group filter); it would be ignored"
        for key in ("algorithm.filter_groups.enable", "trainer.v1.sampler.sync_refill_failed_groups"):
            _require_value(cfg, findings, key, False, why)
    if cfg.actor_rollout_ref.model.get("model_type") == EXACT_KL_ENGINE:
        why = f"method={cfg.method.name} has no such term; it would be ignored"
        for key, value in NOT_IN_THE_LOSS.items():
            _require_value(cfg, findings, key, value, why)
        findings.require(
            cfg.algorithm.adv_estimator != "gae" and not cfg.critic.enable,
            "a critic would be built and never used",
            got=f"algorithm.adv_estimator={cfg.algorithm.adv_estimator}, critic.enable={cfg.critic.enable}",
            expected="no critic: no method has a value function",
            fix="leave algorithm.adv_estimator and critic.enable alone",
        )


def _check_sampling(cfg: DictConfig, findings: Findings) -> None:
    rollout, require = cfg.actor_rollout_ref.rollout, findings.require_range
    key = "actor_rollout_ref.rollout"
    # Greedy rollouts are for tests of exact resumption; siblings would all be the same.
    require(f"{key}.temperature", rollout.temperature, "0 or more", 0 <= rollout.temperature < float("inf"), 0.7)
    require(f"{key}.top_p", rollout.top_p, "more than 0, at most 1", 0 < rollout.top_p <= 1, 0.95)
    lr = cfg.actor_rollout_ref.actor.optim.lr
    require("actor_rollout_ref.actor.optim.lr", lr, "more than 0", 0 < lr < float("inf"), 1e-6)


def _require_value(cfg: DictConfig, findings: Findings, key: str, value: object, why: str) -> None:
    got: Any = cfg
    for name in key.split("."):
        got = got[name]
    shown = str(value).lower() if isinstance(value, bool) else value
    findings.require(
        got == value,
        f"{key} cannot be changed",
        got=str(got).lower() if isinstance(got, bool) else got,
        expected=f"{shown}: {why}",
        fix=f"leave {key} alone",
    )
