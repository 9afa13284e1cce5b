"""Batch sizes, token budgets and lengths: what must divide or contain what."""

from __future__ import annotations

from omegaconf import DictConfig

from verl_vaopd.config.errors import Findings
from verl_vaopd.config.following import longest_rollout

K = "actor_rollout_ref.rollout.n"
B = "data.train_batch_size"


def check_batch(cfg: DictConfig, findings: Findings) -> None:
    """Rollouts of a step against prompts, ranks, micro-batches and token budgets."""
    siblings, prompts = cfg.actor_rollout_ref.rollout.n, cfg.data.train_batch_size
    positive = [
        findings.require_range(K, siblings, "at least 1 rollout per prompt (K)", siblings >= 1, 4),
        findings.require_range(B, prompts, "at least 1 prompt per step", prompts >= 1, 16),
    ]
    mini = cfg.actor_rollout_ref.actor.ppo_mini_batch_size
    findings.require(
        mini == prompts,
        "siblings would be split across optimizer updates",
        got=f"actor_rollout_ref.actor.ppo_mini_batch_size={mini}, {B}={prompts}",
        expected="equal: one optimizer step per batch, since a prompt's token weights sum to one share of the batch",
        fix=f"leave ppo_mini_batch_size alone and set {B}",
    )
    gen = cfg.data.gen_batch_size
    findings.require(
        gen in (None, prompts),
        "the data loader would deal out other batches than training takes",
        got=f"data.gen_batch_size={gen}, {B}={prompts}",
        expected="null",
        fix=f"leave data.gen_batch_size alone and set {B}",
    )
    epochs = cfg.actor_rollout_ref.actor.ppo_epochs
    findings.require(
        epochs == 1,
        "rollouts would be used more than once",
        got=f"actor_rollout_ref.actor.ppo_epochs={epochs}",
        expected="1: the method is on-policy, its loss has no importance weights",
        fix="leave ppo_epochs alone; trainer.total_epochs repeats prompts with new rollouts",
    )
    ranks = cfg.trainer.n_gpus_per_node * cfg.trainer.nnodes
    if all(positive) and ranks >= 1:
        _check_division(cfg, findings, siblings * prompts, ranks)
    _check_lengths(cfg, findings)


def _check_division(cfg: DictConfig, findings: Findings, rollouts: int, ranks: int) -> None:
    sizes = f"{B} x {K} = {cfg.data.train_batch_size} x {cfg.actor_rollout_ref.rollout.n} = {rollouts} rollouts"
    whole = findings.require(
        rollouts % ranks == 0,
        "the batch does not divide evenly among the data-parallel ranks",
        got=f"{sizes} on {ranks} ranks (trainer.n_gpus_per_node x trainer.nnodes)",
        expected=f"a multiple of {ranks} rollouts",
        fix=f"e.g. {B}={_next_multiple(cfg.data.train_batch_size, cfg.actor_rollout_ref.rollout.n, ranks)}",
    )
    actor, rollout = cfg.actor_rollout_ref.actor, cfg.actor_rollout_ref.rollout
    findings.require(
        actor.use_dynamic_bsz == rollout.log_prob_use_dynamic_bsz,
        "training and scoring passes would batch differently",
        got=f"actor.use_dynamic_bsz={actor.use_dynamic_bsz}, "
        f"rollout.log_prob_use_dynamic_bsz={rollout.log_prob_use_dynamic_bsz}",
        expected="the same for both",
        fix="leave actor_rollout_ref.rollout.log_prob_use_dynamic_bsz alone: it follows the actor's",
    )
    if actor.use_dynamic_bsz:
        return
    micro = actor.ppo_micro_batch_size_per_gpu
    key = "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu"
    given = isinstance(micro, int) and micro >= 1
    findings.require(
        given and (not whole or rollouts // ranks % micro == 0),
        "the micro-batches do not fill a rank's share of the batch evenly",
        got=f"{key}={micro}; {sizes}, {rollouts / ranks:g} per rank",
        expected="a divisor of a rank's rollouts, needed because actor_rollout_ref.actor.use_dynamic_bsz=false",
        fix=f"e.g. {key}=1, or actor_rollout_ref.actor.use_dynamic_bsz=true",
    )
    scoring = rollout.log_prob_micro_batch_size_per_gpu
    findings.require(
        isinstance(scoring, int) and scoring >= 1,
        "no micro-batch size for passes without gradient",
        got=f"actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu={scoring}",
        expected="at least 1, needed because actor_rollout_ref.actor.use_dynamic_bsz=false",
        fix="e.g. actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=1",
    )


def _next_multiple(prompts: int, siblings: int, ranks: int) -> int:
    while prompts * siblings % ranks:
        prompts += 1
    return prompts


def _check_lengths(cfg: DictConfig, findings: Findings) -> None:
    prompt, response = cfg.data.max_prompt_length, cfg.data.max_response_length
    for key, length in (("data.max_prompt_length", prompt), ("data.max_response_length", response)):
        findings.require(
            length >= 1,
            f"{key} is out of range",
            got=length,
            expected="at least 1 token",
            fix=f"leave {key} alone: it fits the data set",
        )
    longest = longest_rollout(cfg)
    rollout = cfg.actor_rollout_ref.rollout
    findings.require(
        rollout.max_model_len is not None and rollout.max_model_len >= longest,
        "the longest rollout does not fit into vLLM's context",
        got=f"actor_rollout_ref.rollout.max_model_len={rollout.max_model_len}",
        expected=f"at least data.max_prompt_length + data.max_response_length = {longest}",
        fix="leave max_model_len alone: it follows the two lengths",
    )
    budgets = {"teacher.max_tokens_per_gpu": cfg.teacher.max_tokens_per_gpu}
    if cfg.actor_rollout_ref.actor.use_dynamic_bsz:
        training = cfg.actor_rollout_ref.actor.ppo_max_token_len_per_gpu
        budgets["actor_rollout_ref.actor.ppo_max_token_len_per_gpu"] = training
        # Follows the one for training unless it is set.
        if rollout.log_prob_max_token_len_per_gpu != training:
            budgets["actor_rollout_ref.rollout.log_prob_max_token_len_per_gpu"] = rollout.log_prob_max_token_len_per_gpu
    for key, budget in budgets.items():
        findings.require(
            budget >= longest,
            "the longest rollout does not fit into a micro-batch",
            got=f"{key}={budget}",
            expected=f"at least data.max_prompt_length + data.max_response_length = {longest} tokens",
            fix=f"{key}={longest}, or shorter lengths",
        )
