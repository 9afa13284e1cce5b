"""Methods whose parts do not fit together are refused, with the fix."""

import pytest

from tests.config.conftest import CPU
from verl_vaopd.config import cautions

K = "actor_rollout_ref"
WHOLE = {f"{K}.rollout.temperature": 1.0, f"{K}.rollout.top_p": 1.0}
"""Tokens sampled from the student's whole distribution."""


def of(method):
    return [f"method={method}", *CPU]


@pytest.mark.parametrize(
    ("method", "values", "text"),
    [
        ("vaopd", {"vaopd.high_rule": "top"}, "unknown vaopd.high_rule"),
        ("vaopd", {"vaopd.high_mass": 0.0}, "vaopd.high_mass"),
        ("vaopd", {"vaopd.high_threshold": -1.0}, "vaopd.high_threshold"),
        ("vaopd", {"weighting.rollout_shrinkage": -0.1}, "weighting.rollout_shrinkage"),
        ("vaopd", {"vaopd.advantage": "all"}, "unknown vaopd.advantage"),
        ("vaopd", {"view.kind": "mosaic"}, "unknown view.kind"),
        ("vaopd", {"view.mask_prob": 1.5}, "view.mask_prob"),
        ("vaopd", {"view.block": 0}, "view.block"),
        ("vaopd", {"view.radius": 0.0}, "view.radius"),
        ("vaopd", {"view.radius": 3.0}, "view.radius"),
        ("vaopd", {"loss.divergence": "k4"}, "unknown loss.divergence"),
        ("vaopd", {"loss.token_clip": 0.0}, "loss.token_clip"),
        ("opd", {"loss.js_beta": 1.0}, "loss.js_beta"),
        ("opd", {"loss.top_k": 0}, "loss.top_k"),
        ("opd", {"loss.divergence": "nll"}, "own samples teaches nothing"),
        ("opd_mask_low", {"method.degraded_view": False}, "token weights need visual advantage"),
        ("opd", {"vaopd.advantage": "divergence_gap"}, "needs the degraded view"),
        ("opd", {"papo.perception_coef": 0.1}, "PAPO's terms stand beside a policy loss"),
        ("opd", {f"{K}.actor.use_kl_loss": True}, "use_kl_loss cannot be changed"),
        ("opd_mask_random", {"weighting.frac": 1.0}, "weighting.frac"),
        ("grpo", {"loss.reward_coef": 0.0}, "the loss has no term"),
        ("grpo", {f"{K}.rollout.temperature": 0.0}, "nothing to compare"),
        ("grpo", {f"{K}.rollout.n": 1}, "nothing to compare"),
        ("papo", {"papo.view.mask_prob": -1.0}, "papo.view.mask_prob"),
        ("papo", {"papo.view.radius": 1.5}, "papo.view.radius"),
        ("papo_dapo", {"papo.max_accuracy": 2.0}, "papo.max_accuracy"),
        ("papo_dapo", {"papo.max_accuracy": 0.01}, "no prompt could stay in the update"),
        ("base", {"validation.before_train": False}, "nothing would be done"),
        ("cot_sft", {"loss.reward_coef": 1.0}, "needs the student's own rollouts"),
        ("cot_sft", {"collect.keep": 8}, "would never be trained on"),
        ("cot_sft", {"collect.temperature": 0.0}, "greedy samples of a prompt are one"),
        ("opsd", {"privilege.template": "no place"}, "has no place in the teacher's prompt"),
        ("opsd", {"method.degraded_view": True}, "the privileged teacher reads another one"),
        ("vaopd", {"privilege.reference": "extra_info.response"}, "the privileged teacher reads another one"),
        ("opsd", {"teacher.ema_decay": 1.5}, "teacher.ema_decay"),
        ("opsd", {"teacher.ema_decay": 0.9, "teacher.dtype": "bfloat16"}, "in float32"),
        ("opsd", {"teacher.ema_decay": 0.9, "teacher.placement": "pool", "teacher.n_gpus": 1}, "the same model"),
        ("vaopd", {"teacher.ema_decay": 0.9}, "the same model"),
        ("opsd", {"teacher.max_tokens_per_gpu": 600}, "with a reference solution does not fit"),
    ],
)
def test_refused(problems, method, values, text):
    found = problems(of(method), values)
    assert any(text in problem for problem in found), found


@pytest.mark.parametrize("method", ["base", "cot_sft", "offpolicy_kd", "grpo", "papo", "papo_dapo", "opsd"])
def test_accepted(problems, method):
    assert problems(of(method), {}) == []


@pytest.mark.parametrize("method", ["opd", "offpolicy_kd"])
@pytest.mark.parametrize("divergence", ["reverse_kl", "forward_kl", "js"])
def test_exact_divergences_need_no_caution(changed, method, divergence):
    assert cautions(changed(of(method), {"loss.divergence": divergence})) == []


@pytest.mark.parametrize(
    ("method", "values", "reasons"),
    [
        ("opd", {"loss.divergence": "top_k"}, ["beyond the teacher's 32 likeliest tokens"]),
        (
            "opd",
            {"loss.divergence": "k1"},
            ["sampled at temperature 0.7, top-p 0.95 and top-k -1", "by the length of the response"],
        ),
        ("opd", {"loss.divergence": "k2", **WHOLE}, ["by the length of the response"]),
        ("opd", {"loss.divergence": "k2", **WHOLE, f"{K}.rollout.top_k": 5}, ["top-p 1 and top-k 5", "by the length"]),
        ("vaopd", {"loss.divergence": "k2", **WHOLE}, ["by the length of the response and by visual advantage"]),
        ("opd_mask_low", {"loss.divergence": "k1", **WHOLE}, ["and by visual advantage"]),
        ("opd_mask_random", {"loss.divergence": "k1", **WHOLE}, ["by the length of the response"]),
        ("offpolicy_kd", {"loss.divergence": "k1", **WHOLE}, ["the stored tokens are the teacher's", "by the length"]),
        ("opsd", {"loss.divergence": "k1", **WHOLE}, ["by the length", "loss.token_clip=1 cuts off what"]),
    ],
)
def test_estimators_are_called_what_they_are(changed, method, values, reasons):
    [caution] = cautions(changed(of(method), values))
    head, found = caution.split(": ")
    assert head == f"loss.divergence={values['loss.divergence']} has not the gradient of the reverse KL"
    assert len(found.split("; ")) == len(reasons)
    assert all(text in reason for text, reason in zip(reasons, found.split("; "), strict=True))
    assert ("visual advantage" in found) == any("visual advantage" in reason for reason in reasons)
