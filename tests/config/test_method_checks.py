"""Methods whose parts do not fit together are refused, with the fix."""

import pytest

from tests.config.conftest import CPU
from verl_vaopd.config import cautions

K = "actor_rollout_ref"


def of(method):
    return [f"method={method}", *CPU]


@pytest.mark.parametrize(
    ("method", "values", "text"),
    [
        ("vaopd", {"vaopd.high_rule": "top"}, "unknown vaopd.high_rule"),
        ("vaopd", {"vaopd.high_mass": 0.0}, "vaopd.high_mass"),
        ("vaopd", {"vaopd.high_threshold": -1.0}, "vaopd.high_threshold"),
        ("vaopd", {"vaopd.rollout_shrinkage": -0.1}, "vaopd.rollout_shrinkage"),
        ("vaopd", {"vaopd.advantage": "all"}, "unknown vaopd.advantage"),
        ("vaopd", {"vaopd.mask": "high"}, "tokens are left out of Standard OPD"),
        ("vaopd", {"view.kind": "mosaic"}, "unknown view.kind"),
        ("vaopd", {"view.mask_prob": 1.5}, "view.mask_prob"),
        ("vaopd", {"view.block": 0}, "view.block"),
        ("vaopd", {"loss.divergence": "k4"}, "unknown loss.divergence"),
        ("vaopd", {"loss.token_clip": 0.0}, "loss.token_clip"),
        ("opd", {"loss.js_beta": 1.0}, "loss.js_beta"),
        ("opd", {"loss.top_k": 0}, "loss.top_k"),
        ("opd", {"vaopd.mask": "low"}, "token weights need visual advantage"),
        ("opd", {"vaopd.advantage": "divergence_gap"}, "needs the degraded view"),
        ("opd", {"papo.perception_coef": 0.1}, "PAPO's terms stand beside a policy loss"),
        ("opd", {f"{K}.actor.use_kl_loss": True}, "use_kl_loss cannot be changed"),
        ("opd_mask_random", {"vaopd.mask_frac": 1.0}, "vaopd.mask_frac"),
        ("grpo", {"loss.reward_coef": 0.0}, "the loss has no term"),
        ("grpo", {f"{K}.rollout.temperature": 0.0}, "nothing to compare"),
        ("grpo", {f"{K}.rollout.n": 1}, "nothing to compare"),
        ("papo", {"papo.view.mask_prob": -1.0}, "papo.view.mask_prob"),
        ("papo_dapo", {"papo.max_accuracy": 2.0}, "papo.max_accuracy"),
        ("base", {"validation.before_train": False}, "nothing would be done"),
        ("cot_sft", {"loss.reward_coef": 1.0}, "needs the student's own rollouts"),
        ("cot_sft", {"collect.keep": 8}, "would never be trained on"),
        ("cot_sft", {"collect.temperature": 0.0}, "greedy samples of a prompt are one"),
        ("opsd", {"privilege.template": "no place"}, "has no place in the teacher's prompt"),
        ("opsd", {"teacher.ema_decay": 1.5}, "teacher.ema_decay"),
        ("opsd", {"teacher.ema_decay": 0.9, "teacher.dtype": "bfloat16"}, "in float32"),
        ("opsd", {"teacher.ema_decay": 0.9, "teacher.placement": "pool", "teacher.n_gpus": 1}, "the same model"),
        ("vaopd", {"teacher.ema_decay": 0.9}, "the same model"),
        ("opsd", {"data.max_response_length": 9000}, "with a reference solution does not fit"),
    ],
)
def test_refused(problems, method, values, text):
    found = problems(of(method), values)
    assert any(text in problem for problem in found), found


@pytest.mark.parametrize("method", ["base", "cot_sft", "offpolicy_kd", "grpo", "papo", "papo_dapo", "opsd"])
def test_accepted(problems, method):
    assert problems(of(method), {}) == []


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ({}, []),
        ({"loss.divergence": "forward_kl"}, []),
        ({"loss.divergence": "top_k"}, ["has not the gradient of the reverse KL"]),
        ({"loss.divergence": "k1"}, ["biased at temperature 0.7 and top-p 0.95"]),
        ({"loss.divergence": "k2", f"{K}.rollout.temperature": 1.0, f"{K}.rollout.top_p": 1.0}, []),
        (
            {
                "loss.divergence": "k2",
                f"{K}.rollout.temperature": 1.0,
                f"{K}.rollout.top_p": 1.0,
                "vaopd.token_grouping": True,
            },
            ["depend on the sampled token"],
        ),
    ],
)
def test_estimators_are_called_what_they_are(changed, values, texts):
    found = cautions(changed(of("opd"), values))
    assert len(found) == len(texts)
    assert all(text in caution for text, caution in zip(texts, found, strict=True))
