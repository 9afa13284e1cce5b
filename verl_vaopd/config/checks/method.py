"""What a method is made of: parts that need or exclude each other."""

from __future__ import annotations

from omegaconf import DictConfig

from verl_vaopd.config.errors import Findings
from verl_vaopd.config.following import longest_scored
from verl_vaopd.config.objective import weighting_from


def check_method(cfg: DictConfig, findings: Findings) -> None:
    """Token weights, loss, PAPO, self-distillation, stored responses."""
    _check_token_weights(cfg, findings)
    _check_loss(cfg, findings)
    _check_rewards(cfg, findings)
    _check_self_teacher(cfg, findings)
    _check_stored(cfg, findings)


def _check_token_weights(cfg: DictConfig, findings: Findings) -> None:
    weighting = weighting_from(cfg)
    measured = cfg.method.degraded_view
    findings.require(
        measured or cfg.loss.divergence is None or not weighting.needs_visual_advantage,
        "token weights need visual advantage, which is not computed",
        got=f"method.degraded_view=false, weighting={weighting.name}",
        expected="method.degraded_view=true, or weights that do not need it",
        fix="method.degraded_view=true, or weighting=uniform",
    )
    findings.require(
        cfg.vaopd.advantage == "sampled" or measured,
        "the gap between two divergences needs the degraded view",
        got=f"vaopd.advantage={cfg.vaopd.advantage}, method.degraded_view=false",
        expected="method.degraded_view=true",
        fix="method.degraded_view=true, or vaopd.advantage=sampled",
    )


def _check_loss(cfg: DictConfig, findings: Findings) -> None:
    loss = cfg.loss
    findings.require(
        loss.divergence is not None or loss.reward_coef > 0 or cfg.trainer.val_only,
        "the loss has no term",
        got=f"loss.divergence=null, loss.reward_coef={loss.reward_coef}",
        expected="a divergence, a reward, or no training (trainer.val_only=true)",
        fix="loss.divergence=reverse_kl, loss.reward_coef=1, or method=base",
    )
    findings.require(
        loss.divergence is not None or loss.temperature == 1,
        "there is no divergence to take at a temperature",
        got=f"loss.divergence=null, loss.temperature={loss.temperature}",
        expected="loss.temperature=1 for a method without distillation",
        fix="leave loss.temperature alone; actor_rollout_ref.rollout.temperature is that of sampling",
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
        longest = longest_scored(cfg)
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
    collect = cfg.collect
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
