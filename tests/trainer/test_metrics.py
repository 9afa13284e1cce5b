import math
from dataclasses import replace

import pytest
import torch

from tests.trainer.some_rollouts import some_rollouts
from verl_vaopd.algorithms.token_weights import high_group, token_weights
from verl_vaopd.runs import metric_names
from verl_vaopd.trainer.metrics import (
    distillation_metrics,
    format_metrics,
    repeated_ngram_frac,
    rollout_metrics,
    throughput_metrics,
)


def _step(visual_advantage, uid, without=(), **changes):
    """A step whose tokens all have KL 1, entropies 0 and no log-prob gap."""
    ones, mask = torch.ones_like(visual_advantage), torch.ones_like(visual_advantage, dtype=torch.bool)
    values = {
        "reverse_kl": ones,
        "divergence": ones,
        "token_weights": token_weights(visual_advantage, mask, uid),
        "response_mask": mask,
        "student_entropy": 0 * ones,
        "teacher_entropy": 0 * ones,
        "student_log_probs": -ones,
        "rollout_log_probs": -ones,
        "uid": uid,
        "visual_advantage": visual_advantage,
        "high_group": high_group(visual_advantage, mask, 0.2),
        **changes,
    }
    return some_rollouts(**{name: value for name, value in values.items() if name not in without})


def test_metric_names_are_one_table_without_overlap():
    tables = (
        metric_names.DISTILLATION_METRICS,
        metric_names.VISUAL_ADVANTAGE_METRICS,
        metric_names.FORMAT_METRICS,
        metric_names.ROLLOUT_METRICS,
        metric_names.THROUGHPUT_METRICS,
        metric_names.STEP_MEMORY_METRICS,
        metric_names.PASS_THROUGH_METRICS,
        metric_names.ALARM_METRICS,
    )
    assert sum(len(table) for table in tables) == len(metric_names.METRICS)
    assert all(text.endswith("]") and " [" in text for text in metric_names.METRICS.values()), "each names its unit"


def test_loss_is_one_where_the_divergence_is_one():
    """Token weights of a prompt sum to 1 / B."""
    got = distillation_metrics(_step(torch.rand(6, 9), list("aabbcc")))
    assert got["vaopd/loss"] == pytest.approx(1.0, abs=1e-6)


def test_rollout_weights_are_those_of_the_paper():
    """Mean VA 0.045, 0.030, 0.020, 0.010 give 0.656, 0.206, 0.095, 0.044 (method figure); an only child has 1."""
    means = torch.tensor([0.045, 0.030, 0.7, 0.020, 0.010])
    got = distillation_metrics(_step(means[:, None].expand(5, 8).contiguous(), [1, 1, 2, 1, 1]))
    weights = (0.656, 0.206, 0.095, 0.044)
    assert got["vaopd/rollout_weights/min"] == pytest.approx(0.044, abs=5e-4)
    assert got["vaopd/rollout_weights/max"] == pytest.approx(1.0, abs=1e-6)
    effective = (1 / sum(w * w for w in weights) + 1) / 2
    assert got["vaopd/rollout_weights/effective_siblings"] == pytest.approx(effective, abs=5e-3)


def test_visual_advantage_shares_by_hand():
    """Ten tokens holding 6, 2, 1 and 1, and twenty of which two hold 5 each: top 10 % 6 + 10, top 20 % 8 + 10 of 20."""
    advantage = torch.zeros(2, 20)
    advantage[0, :10] = torch.tensor([0.0, 6, 0, 0, 1, 0, 2, 0, 0, 1])
    advantage[1, [3, 19]] = 5.0
    mask = torch.arange(20) < torch.tensor([10, 20])[:, None]
    step = _step(advantage, ["a", "a"], response_mask=mask, high_group=high_group(advantage, mask, 0.4))
    got = distillation_metrics(step)
    assert got["vaopd/visual_advantage/top10_share"] == pytest.approx(16 / 20)
    assert got["vaopd/visual_advantage/top20_share"] == pytest.approx(18 / 20)
    assert got["vaopd/visual_advantage/mean"] == pytest.approx(20 / 30)
    # High groups of 4 and 8 tokens; 0 and 6 of them have no VA.
    assert got["vaopd/visual_advantage/high_zero_frac"] == pytest.approx(6 / 12)


def test_ties_of_the_high_group_and_the_share_of_format_by_hand():
    """High are 0.5, 0.02, 0.009 and 0; format tokens hold 0.009 of 0.529."""
    advantage = torch.tensor([[0.5, 0.02, 0.009, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    step = _step(advantage, ["a"], high_group=torch.arange(10)[None] < 4)
    assert distillation_metrics(step)["vaopd/visual_advantage/high_tie_frac"] == pytest.approx(2 / 4)
    step = replace(step, responses=torch.arange(10)[None])
    is_format = torch.tensor([False, False, True, True, True, *[False] * 5])
    assert format_metrics(step, is_format) == pytest.approx({"vaopd/visual_advantage/format_share": 0.009 / 0.529})
    nowhere = replace(step, per_token=step.per_token | {"visual_advantage": 0 * advantage})
    assert math.isnan(format_metrics(nowhere, is_format)["vaopd/visual_advantage/format_share"])


def test_ten_percent_of_thirty_tokens_is_three():
    advantage = torch.cat([torch.ones(1, 4), torch.zeros(1, 26)], dim=1)
    got = distillation_metrics(_step(advantage, ["a"]))
    assert got["vaopd/visual_advantage/top10_share"] == pytest.approx(3 / 4)


def test_log_prob_gap_by_hand():
    """Gaps of +ln 2 and 0: k3 = (2 - 1 - ln 2) / 2; the opposite sign would give (ln 2 - 1/2) / 2."""
    engine = torch.tensor([[-1.0, -1.0]])
    trainer = engine + torch.tensor([[math.log(2), 0.0]])
    step = _step(torch.ones(1, 2), ["a"], student_log_probs=trainer, rollout_log_probs=engine)
    got = distillation_metrics(step)
    assert got["vaopd/log_prob_gap/mean_abs"] == pytest.approx(math.log(2) / 2)
    assert got["vaopd/log_prob_gap/max_abs"] == pytest.approx(math.log(2))
    assert got["vaopd/log_prob_gap/kl_k3"] == pytest.approx((1 - math.log(2)) / 2, rel=1e-6)


def test_without_visual_advantage_its_keys_are_absent():
    got = distillation_metrics(_step(torch.rand(4, 6), list("aabb"), without={"visual_advantage", "high_group"}))
    assert got.keys() == metric_names.DISTILLATION_METRICS.keys()


def test_a_method_without_a_teacher_reports_its_policy_only():
    absent = {"reverse_kl", "divergence", "token_weights", "teacher_entropy", "visual_advantage", "high_group"}
    got = distillation_metrics(_step(torch.rand(4, 6), list("aabb"), without=absent))
    assert got.keys() == metric_names.POLICY_METRICS.keys() | metric_names.LOG_PROB_GAP_METRICS.keys()
    stored = distillation_metrics(_step(torch.rand(4, 6), list("aabb"), without=absent | {"rollout_log_probs"}))
    assert stored.keys() == metric_names.POLICY_METRICS.keys()


def test_undefined_means_are_nan():
    """No VA anywhere: no shares. One token per rollout: no low group."""
    got = distillation_metrics(_step(torch.zeros(2, 1), ["a", "b"]))
    assert math.isnan(got["vaopd/visual_advantage/top10_share"])
    assert math.isnan(got["vaopd/reverse_kl/low"])
    assert got["vaopd/visual_advantage/high_zero_frac"] == 1.0


def test_broken_values_show():
    kl = torch.ones(2, 3)
    kl[1, 2] = math.nan
    assert math.isnan(distillation_metrics(_step(torch.rand(2, 3), [0, 1], divergence=kl))["vaopd/loss"])


def test_padding_rows_are_refused():
    weights = torch.tensor([[0.5, 0.5], [0.0, 0.0]])
    with pytest.raises(ValueError, match="prompt 'padding' sum to 0"):
        distillation_metrics(_step(torch.rand(2, 2), ["a", "padding"], token_weights=weights))


@pytest.mark.parametrize("name", ["reverse_kl", "teacher_entropy", "visual_advantage"])
def test_unequal_shapes_are_refused(name):
    with pytest.raises(ValueError, match="shapes differ"):
        some_rollouts(torch.ones(2, 4), ["a", "b"], **{name: torch.rand(2, 5)})


COUNTS = {
    "num_dropped_prompts": 2,
    "num_dropped_rollouts": 5,
    "num_unscored_rewards": 4,
    "num_filtered_prompts": 3,
    "num_padding_rows": 1,
}


def _rollouts(**changes):
    values = {
        "response_mask": torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 1, 0]]),
        "uid": ["5", "5", "9"],
        "truncated": torch.tensor([True, False, False]),
        "accuracy": torch.tensor([1.0, math.nan, 0.5]),
        **changes,
    }
    return some_rollouts(**values)


def test_rollout_metrics_by_hand():
    got = rollout_metrics(_rollouts(), **COUNTS)
    assert got.keys() == metric_names.ROLLOUT_METRICS.keys()
    assert got == pytest.approx(
        {
            "vaopd/response_length/mean": 8 / 3,
            "vaopd/response_length/min": 1.0,
            "vaopd/response_length/max": 4.0,
            "vaopd/truncated_frac": 1 / 3,
            "vaopd/repetition_frac": 0.0,
            "vaopd/rollout_accuracy": 0.75,
            "vaopd/num_unscored_rollouts": 1.0,
            "vaopd/num_prompts": 2.0,
            "vaopd/num_rollouts": 3.0,
            "vaopd/num_dropped_prompts": 2.0,
            "vaopd/num_dropped_rollouts": 5.0,
            "vaopd/num_unscored_rewards": 4.0,
            "vaopd/num_filtered_prompts": 3.0,
            "vaopd/num_padding_rows": 1.0,
        }
    )


def test_accuracy_of_unscored_rollouts_is_unknown():
    got = rollout_metrics(_rollouts(accuracy=torch.full((3,), math.nan)), **COUNTS)
    assert math.isnan(got["vaopd/rollout_accuracy"])
    assert got["vaopd/num_unscored_rollouts"] == 3.0


@pytest.mark.parametrize("name", ["truncated", "accuracy"])
def test_other_numbers_of_rollouts_are_refused(name):
    with pytest.raises(ValueError, match="shapes differ"):
        _rollouts(**{name: torch.tensor([True])})


def test_values_that_no_table_names_are_refused():
    with pytest.raises(ValueError, match="got kl, expected names among visual_advantage"):
        _rollouts(kl=torch.zeros(3, 4))


def test_repetition_of_loops_at_the_end():
    """Period p over the last 64 tokens: 61 4-grams, p different ones. What repeats earlier does not count."""
    ids = torch.arange(4 * 200).reshape(4, 200)
    ids[0, -70:] = torch.arange(70) % 5
    ids[1, -70:] = torch.arange(70) % 31
    ids[2, :130] = 7
    mask = torch.ones_like(ids)
    expected = [1 - 5 / 61, 1 - 31 / 61, 0.0, 0.0]
    assert repeated_ngram_frac(ids, mask).tolist() == pytest.approx(expected, abs=1e-12)
    metrics = rollout_metrics(some_rollouts(mask, list("aabb"), responses=ids), **COUNTS)
    assert metrics["vaopd/repetition_frac"] == 0.25


def test_throughput_by_hand():
    got = throughput_metrics(
        {"rollout": 2.0, "weight_sync": 0.5, "teacher": 0.0},
        {"rollout": 300, "teacher": 10},
        {"actor/grad_norm": 1.5, "perf/max_memory_allocated_gb": 3.25},
    )
    assert math.isnan(got.pop("perf/teacher/tokens_per_second"))
    assert got == {
        "perf/rollout/seconds": 2.0,
        "perf/rollout/tokens_per_second": 150.0,
        "perf/weight_sync/seconds": 0.5,
        "perf/teacher/seconds": 0.0,
        "actor/grad_norm": 1.5,
        "perf/max_memory_allocated_gb": 3.25,
    }
    assert got.keys() <= metric_names.METRICS.keys()


def test_throughput_of_all_phases_is_declared():
    seconds, tokens = dict.fromkeys(metric_names.PHASES, 1.0), dict.fromkeys(metric_names.TOKENS_OF_PHASES, 1.0)
    assert throughput_metrics(seconds, tokens, {}).keys() == metric_names.THROUGHPUT_METRICS.keys()


@pytest.mark.parametrize(
    ("timing", "tokens", "other"),
    [({"gen": 1.0}, {}, {}), ({"rollout": 1.0}, {"teacher": 5}, {}), ({}, {}, {"perf/mystery": 1.0})],
)
def test_throughput_refuses_unknown_names(timing, tokens, other):
    with pytest.raises(ValueError, match="expected names among"):
        throughput_metrics(timing, tokens, other)
