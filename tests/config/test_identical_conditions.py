"""Identical conditions are asserted, not promised: the only keys in which the methods' configurations differ."""

import pytest

from tests.config.conftest import CPU, PAPER
from verl_vaopd.config import compose, value_types
from verl_vaopd.config.paths import options

METHODS = options("method")

MAY_DIFFER = {
    # What the method is.
    "method.name",
    "method.stored_responses",
    "method.degraded_view",
    "loss.divergence",
    "loss.token_clip",
    "loss.reward_coef",
    "weighting.name",
    "weighting.high_coef",
    "weighting.temperature",
    "weighting.eps",
    "weighting.rollout_weighting",
    "weighting.token_grouping",
    "weighting.rollout_shrinkage",
    "weighting.which",
    "weighting.frac",
    "papo.perception_coef",
    "papo.entropy_coef",
    "papo.min_accuracy",
    "papo.max_accuracy",
    "actor_rollout_ref.actor.use_kl_loss",
    "actor_rollout_ref.actor.kl_loss_coef",
    "actor_rollout_ref.actor.clip_ratio_high",
    # On-policy self-distillation is its own teacher.
    "privilege.reference",
    "teacher.path",
    # No training at all.
    "trainer.val_only",
}


@pytest.mark.parametrize("recipes", [CPU, PAPER], ids=["cpu", "paper"])
def test_methods_differ_in_what_they_are_and_in_nothing_else(recipes):
    resolved = {name: value_types.flat(compose([f"method={name}", *recipes, "run.dir=unused"])) for name in METHODS}
    keys = set().union(*(set(values) for values in resolved.values()))
    differing = {key for key in keys if len({str(values.get(key)) for values in resolved.values()}) > 1}
    assert differing == MAY_DIFFER


def test_all_methods_of_the_paper_are_there():
    assert {
        "base", "cot_sft", "offpolicy_kd", "opd", "vaopd", "vaopd_rollout_only", "vaopd_token_only", "opd_mask_high",
        "opd_mask_low", "opd_mask_random", "grpo", "papo", "papo_dapo", "opsd",
    } == set(METHODS)  # fmt: skip
