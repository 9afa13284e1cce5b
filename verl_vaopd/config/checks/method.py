"""What a method is made of: ranges of its numbers, and parts that need or exclude each other."""

from __future__ import annotations

from omegaconf import DictConfig

from verl_vaopd import images
from verl_vaopd.config.errors import Findings, listing
from verl_vaopd.config.schema import ADVANTAGES, DIVERGENCES, HIGH_RULES, MASKS

INFINITY = float("inf")


def check_method(cfg: DictConfig, findings: Findings) -> None:
    """Token weights, loss, views, PAPO, self-distillation, stored responses."""
    _check_token_weights(cfg, findings)
    _check_loss(cfg, findings)
    _check_rewards(cfg, findings)
    _check_views(cfg, findings)
    _check_self_teacher(cfg, findings)
    _check_stored(cfg, findings)


def _choice(findings: Findings, key: str, got: object, known: tuple[object, ...]) -> None:
    findings.require(
        got in known,
        f"unknown {key}",
        got=f"{key}={got}",
        expected=f"one of {listing([str(name) for name in known])}",
        fix=f"{key}={known[0]}",
    )


def _check_token_weights(cfg: DictConfig, findings: Findings) -> None:
    vaopd, require = cfg.vaopd, findings.require_range
    require("vaopd.high_frac", vaopd.high_frac, "more than 0, at most 1", 0 < vaopd.high_frac <= 1, 0.2)
    require("vaopd.high_coef", vaopd.high_coef, "between 0 and 1", 0 <= vaopd.high_coef <= 1, 0.5)
    require("vaopd.temperature", vaopd.temperature, "more than 0", 0 < vaopd.temperature < INFINITY, 1.0)
    require("vaopd.eps", vaopd.eps, "more than 0", 0 < vaopd.eps < INFINITY, 1e-6)
    require("vaopd.high_mass", vaopd.high_mass, "more than 0, at most 1", 0 < vaopd.high_mass <= 1, 0.9)
    threshold, shrinkage = vaopd.high_threshold, vaopd.rollout_shrinkage
    require("vaopd.high_threshold", threshold, "0 nats or more", 0 <= threshold < INFINITY, 0.1)
    require("vaopd.rollout_shrinkage", shrinkage, "0 nats or more", 0 <= shrinkage < INFINITY, 0.0)
    require("vaopd.mask_frac", vaopd.mask_frac, "0 or more, less than 1", 0 <= vaopd.mask_frac < 1, 0.1)
    _choice(findings, "vaopd.high_rule", vaopd.high_rule, HIGH_RULES)
    _choice(findings, "vaopd.advantage", vaopd.advantage, ADVANTAGES)
    _choice(findings, "vaopd.mask", vaopd.mask, (None, *MASKS))
    weighted = vaopd.rollout_weighting or vaopd.token_grouping
    findings.require(
        cfg.method.degraded_view or not (weighted or vaopd.mask in ("high", "low")),
        "token weights need visual advantage, which is not computed",
        got=f"method.degraded_view=false, vaopd.rollout_weighting={vaopd.rollout_weighting}, "
        f"vaopd.token_grouping={vaopd.token_grouping}, vaopd.mask={vaopd.mask}",
        expected="method.degraded_view=true, or what needs it switched off (Standard OPD)",
        fix="method.degraded_view=true, or method=opd",
    )
    findings.require(
        vaopd.mask is None or not weighted,
        "tokens are left out of Standard OPD, not of a weighted loss",
        got=f"vaopd.mask={vaopd.mask}, vaopd.rollout_weighting={vaopd.rollout_weighting}, "
        f"vaopd.token_grouping={vaopd.token_grouping}",
        expected="both switches off, or no mask",
        fix=f"method=opd_mask_{vaopd.mask}, or vaopd.mask=null",
    )
    findings.require(
        vaopd.advantage == "sampled" or cfg.method.degraded_view,
        "the gap between two divergences needs the degraded view",
        got=f"vaopd.advantage={vaopd.advantage}, method.degraded_view=false",
        expected="method.degraded_view=true",
        fix="method.degraded_view=true, or vaopd.advantage=sampled",
    )


def _check_loss(cfg: DictConfig, findings: Findings) -> None:
    loss, require = cfg.loss, findings.require_range
    _choice(findings, "loss.divergence", loss.divergence, (*DIVERGENCES, None))
    require("loss.js_beta", loss.js_beta, "more than 0, less than 1", 0 < loss.js_beta < 1, 0.5)
    require("loss.top_k", loss.top_k, "at least 1 token", loss.top_k >= 1, 32)
    require("loss.reward_coef", loss.reward_coef, "0 or more", 0 <= loss.reward_coef < INFINITY, 0.0)
    if loss.token_clip is not None:
        require("loss.token_clip", loss.token_clip, "more than 0 nats, or null", 0 < loss.token_clip < INFINITY, 1.0)
    findings.require(
        loss.divergence is not None or loss.reward_coef > 0 or cfg.trainer.val_only,
        "the loss has no term",
        got=f"loss.divergence=null, loss.reward_coef={loss.reward_coef}",
        expected="a divergence, a reward, or no training (trainer.val_only=true)",
        fix="loss.divergence=reverse_kl, loss.reward_coef=1, or method=base",
    )
    findings.require(
        loss.divergence != "nll" or cfg.method.stored_responses,
        "negative log-likelihood of the student's own samples teaches nothing",
        got="loss.divergence=nll, method.stored_responses=false",
        expected="stored responses",
        fix="method=cot_sft, or another loss.divergence",
    )
    findings.require(
        cfg.validation.before_train or not cfg.trainer.val_only,
        "nothing would be done",
        got="trainer.val_only=true, validation.before_train=false",
        expected="a validation before training, when there is no training",
        fix="validation.before_train=true",
    )


def _check_rewards(cfg: DictConfig, findings: Findings) -> None:
    papo, loss, actor = cfg.papo, cfg.loss, cfg.actor_rollout_ref.actor
    for key in ("perception_coef", "entropy_coef"):
        findings.require_range(f"papo.{key}", papo[key], "0 or more", 0 <= papo[key] < INFINITY, 0.0)
    for key in ("min_accuracy", "max_accuracy"):
        value = papo[key]
        inside = value is None or 0 <= value <= 1
        findings.require_range(f"papo.{key}", value, "between 0 and 1, or null", inside, "null")
    low, high = papo.min_accuracy, papo.max_accuracy
    findings.require(
        low is None or high is None or low < high,
        "no prompt could stay in the update",
        got=f"papo.min_accuracy={low}, papo.max_accuracy={high}",
        expected="min_accuracy below max_accuracy",
        fix="papo.min_accuracy=0.01 papo.max_accuracy=0.99",
    )
    rewarded = loss.reward_coef > 0
    findings.require(
        rewarded or not (papo.perception_coef or papo.entropy_coef),
        "PAPO's terms stand beside a policy loss, and there is none",
        got=f"loss.reward_coef={loss.reward_coef}, papo.perception_coef={papo.perception_coef}, "
        f"papo.entropy_coef={papo.entropy_coef}",
        expected="loss.reward_coef above 0",
        fix="loss.reward_coef=1, or method=papo",
    )
    findings.require(
        rewarded or not actor.use_kl_loss,
        "actor_rollout_ref.actor.use_kl_loss cannot be changed",
        got="true",
        expected=f"false: method={cfg.method.name} has no such term; it would be ignored",
        fix="leave actor_rollout_ref.actor.use_kl_loss alone, or loss.reward_coef=1",
    )
    temperature, siblings = cfg.actor_rollout_ref.rollout.temperature, cfg.actor_rollout_ref.rollout.n
    findings.require(
        not rewarded or (temperature > 0 and siblings > 1),
        "rollouts of a prompt would all be alike, and rewards have nothing to compare",
        got=f"actor_rollout_ref.rollout.temperature={temperature}, actor_rollout_ref.rollout.n={siblings}",
        expected="a temperature above 0 and at least 2 rollouts per prompt with loss.reward_coef above 0",
        fix="actor_rollout_ref.rollout.temperature=0.7 actor_rollout_ref.rollout.n=4",
    )
    findings.require(
        not (rewarded and cfg.method.stored_responses),
        "a policy gradient needs the student's own rollouts",
        got=f"loss.reward_coef={loss.reward_coef}, method.stored_responses=true",
        expected="one of the two",
        fix="loss.reward_coef=0",
    )


def _check_views(cfg: DictConfig, findings: Findings) -> None:
    for key, view in (("view", cfg.view), ("papo.view", cfg.papo.view)):
        require = findings.require_range
        _choice(findings, f"{key}.kind", view.kind, tuple(images.DEGRADATIONS))
        require(f"{key}.ratio", view.ratio, "more than 0, at most 1", 0 < view.ratio <= 1, images.PIXELATE_RATIO)
        require(f"{key}.radius", view.radius, "more than 0, at most 1", 0 < view.radius <= 1, images.BLUR_RADIUS)
        require(f"{key}.block", view.block, "at least 1 pixel", view.block >= 1, images.BLOCK)
        probable = 0 <= view.mask_prob <= 1
        require(f"{key}.mask_prob", view.mask_prob, "between 0 and 1", probable, images.MASK_PROB)


def _check_self_teacher(cfg: DictConfig, findings: Findings) -> None:
    teacher, privilege = cfg.teacher, cfg.privilege
    findings.require(
        "{reference}" in privilege.template,
        "the reference solution has no place in the teacher's prompt",
        got=f"privilege.template={privilege.template!r}",
        expected="a text with {reference} in it",
        fix="leave privilege.template alone",
    )
    if privilege.reference is not None:
        longest = cfg.data.max_prompt_length + 2 * cfg.data.max_response_length
        findings.require(
            teacher.max_tokens_per_gpu >= longest,
            "the longest rollout with a reference solution does not fit into a micro-batch of the teacher",
            got=f"teacher.max_tokens_per_gpu={teacher.max_tokens_per_gpu}",
            expected=f"at least data.max_prompt_length + 2 x data.max_response_length = {longest} tokens",
            fix=f"teacher.max_tokens_per_gpu={longest}",
        )
        findings.require(
            not cfg.method.degraded_view,
            "the degraded view belongs to the student's prompt, and the privileged teacher reads another one",
            got=f"method.degraded_view=true, privilege.reference={privilege.reference}",
            expected="one of the two: no visual advantage by a teacher that reads the solution",
            fix="method=opsd method.degraded_view=false, or privilege.reference=null",
        )
    if teacher.ema_decay is None:
        return
    findings.require_range(
        "teacher.ema_decay", teacher.ema_decay, "more than 0, less than 1, or null", 0 < teacher.ema_decay < 1, 0.999
    )
    findings.require(
        teacher.path == cfg.student.path and teacher.placement == "colocated" and teacher.dtype == "float32",
        "a teacher that follows the student must be the same model, beside it, in float32",
        got=f"teacher.path={teacher.path}, teacher.placement={teacher.placement}, teacher.dtype={teacher.dtype}",
        expected=f"teacher.path={cfg.student.path}, teacher.placement=colocated, teacher.dtype=float32 "
        "(in 16 bits a small step towards the student rounds to nothing)",
        fix="method=opsd teacher.dtype=float32",
    )
    strategy = cfg.actor_rollout_ref.actor.strategy
    findings.require(
        teacher.strategy == strategy,
        "a teacher that follows the student must be sharded like it",
        got=f"teacher.strategy={teacher.strategy}, actor_rollout_ref.actor.strategy={strategy}",
        expected="the same",
        fix=f"teacher.strategy={strategy}",
    )


def _check_stored(cfg: DictConfig, findings: Findings) -> None:
    collect, require = cfg.collect, findings.require_range
    require("collect.n", collect.n, "at least 1 sample per prompt", collect.n >= 1, 8)
    require("collect.keep", collect.keep, "at least 1", collect.keep >= 1, 4)
    require("collect.prompts_per_part", collect.prompts_per_part, "at least 1", collect.prompts_per_part >= 1, 256)
    require("collect.temperature", collect.temperature, "0 or more", 0 <= collect.temperature < INFINITY, 0.7)
    require("collect.top_p", collect.top_p, "more than 0, at most 1", 0 < collect.top_p <= 1, 0.95)
    findings.require(
        collect.temperature > 0 or collect.n == 1,
        "several greedy samples of a prompt are one",
        got=f"collect.temperature={collect.temperature}, collect.n={collect.n}",
        expected="a temperature above 0, or one sample",
        fix="collect.temperature=0.7",
    )
    rollout = cfg.actor_rollout_ref.rollout.n
    findings.require(
        not cfg.method.stored_responses or collect.keep <= rollout,
        "some stored responses would never be trained on",
        got=f"collect.keep={collect.keep}, actor_rollout_ref.rollout.n={rollout}",
        expected="collect.keep at most actor_rollout_ref.rollout.n, the responses of a prompt in one step",
        fix=f"collect.keep={rollout}",
    )
