"""Step metrics against loops over plain floats, written from the definitions."""

import math

import pytest
import torch

from tests.trainer.some_rollouts import some_rollouts
from verl_vaopd.algorithms.token_weights import high_group
from verl_vaopd.runs.metric_names import DISTILLATION_METRICS, VISUAL_ADVANTAGE_METRICS
from verl_vaopd.trainer.metrics import distillation_metrics, repeated_ngram_frac

FIELDS = (
    "reverse_kl",
    "divergence",
    "token_weights",
    "student_entropy",
    "teacher_entropy",
    "student_log_probs",
    "rollout_log_probs",
    "visual_advantage",
)


def _mean(values):
    return sum(values) / len(values) if values else math.nan


def _top(values, percent):
    """Positions of the ceil(percent of length) largest, earlier first on ties."""
    count = -(-len(values) * percent // 100)
    return sorted(range(len(values)), key=lambda t: (-values[t], t))[:count]


def reference_metrics(rollouts, uid, high_percent):
    """rollouts: one dict of float lists per rollout, valid tokens only."""
    flat = {name: [x for rollout in rollouts for x in rollout[name]] for name in FIELDS}
    in_high = [[t in _top(r["visual_advantage"], high_percent) for t in range(len(r["reverse_kl"]))] for r in rollouts]
    high_flat = [is_high for row in in_high for is_high in row]
    weights, effective = [], []
    for prompt in dict.fromkeys(uid):
        sums = [sum(r["token_weights"]) for r, u in zip(rollouts, uid, strict=True) if u == prompt]
        shares = [s / sum(sums) for s in sums]
        weights += shares
        effective.append(1 / sum(w * w for w in shares))
    gap = [a - b for a, b in zip(flat["student_log_probs"], flat["rollout_log_probs"], strict=True)]
    total = sum(flat["visual_advantage"])

    def top_share(percent):
        held = sum(r["visual_advantage"][t] for r in rollouts for t in _top(r["visual_advantage"], percent))
        return held / total

    return {
        "vaopd/loss": sum(w * k for w, k in zip(flat["token_weights"], flat["divergence"], strict=True)),
        "vaopd/reverse_kl/all": _mean(flat["reverse_kl"]),
        "vaopd/reverse_kl/high": _mean([k for k, h in zip(flat["reverse_kl"], high_flat, strict=True) if h]),
        "vaopd/reverse_kl/low": _mean([k for k, h in zip(flat["reverse_kl"], high_flat, strict=True) if not h]),
        "vaopd/rollout_weights/min": min(weights),
        "vaopd/rollout_weights/max": max(weights),
        "vaopd/rollout_weights/effective_siblings": _mean(effective),
        "vaopd/entropy/policy": _mean(flat["student_entropy"]),
        "vaopd/entropy/teacher": _mean(flat["teacher_entropy"]),
        "vaopd/log_prob_gap/mean_abs": _mean([abs(g) for g in gap]),
        "vaopd/log_prob_gap/max_abs": max(abs(g) for g in gap),
        "vaopd/log_prob_gap/kl_k3": _mean([math.exp(g) - 1 - g for g in gap]),
        "vaopd/visual_advantage/mean": _mean(flat["visual_advantage"]),
        "vaopd/visual_advantage/top10_share": top_share(10),
        "vaopd/visual_advantage/top20_share": top_share(20),
        "vaopd/visual_advantage/high_zero_frac": _mean(
            [float(a == 0) for a, h in zip(flat["visual_advantage"], high_flat, strict=True) if h]
        ),
        "vaopd/visual_advantage/high_tie_frac": _mean(
            [float(a < 0.01) for a, h in zip(flat["visual_advantage"], high_flat, strict=True) if h]
        ),
    }


def _random_step(seed, padding=math.nan):
    """Two prompts with 3 and 2 rollouts, interleaved, of 1 to 30 tokens; padding outside the responses."""
    generator = torch.Generator().manual_seed(seed)
    uid = ["q", "p", "q", "p", "q"]
    lengths = [30, 1, 17, 9, 23]
    mask = torch.arange(32) < torch.tensor(lengths)[:, None]
    tensors = {name: torch.rand(5, 32, generator=generator) for name in FIELDS}
    tensors["visual_advantage"] = (tensors["visual_advantage"] - 0.8).clamp_min(0)
    for name in ("student_log_probs", "rollout_log_probs"):
        tensors[name] = tensors[name].log()
    tensors = {name: torch.where(mask, values, padding) for name, values in tensors.items()}
    rollouts = [{name: values[i, :n].tolist() for name, values in tensors.items()} for i, n in enumerate(lengths)]
    return tensors, mask, uid, rollouts


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("high_percent", [20, 35, 100])
def test_all_metrics_equal_the_loops(seed, high_percent):
    tensors, mask, uid, rollouts = _random_step(seed)
    expected = reference_metrics(rollouts, uid, high_percent)
    high = high_group(tensors["visual_advantage"], mask, high_percent / 100)
    got = distillation_metrics(some_rollouts(mask, uid, high_group=high, **tensors))
    assert got.keys() == expected.keys() == DISTILLATION_METRICS.keys() | VISUAL_ADVANTAGE_METRICS.keys()
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, rel=1e-6, nan_ok=True), name


def test_order_of_rollouts_and_padding_change_nothing():
    tensors, mask, uid, _ = _random_step(0)
    high = high_group(tensors["visual_advantage"], mask, 0.2)
    whole = distillation_metrics(some_rollouts(mask, uid, high_group=high, **tensors))
    order = [3, 0, 4, 1, 2]
    moved = {name: torch.nn.functional.pad(values[order], (0, 6), value=-7.0) for name, values in tensors.items()}
    moved_high = torch.nn.functional.pad(high[order], (0, 6), value=True)
    moved_mask = torch.nn.functional.pad(mask[order], (0, 6)).int()
    got = distillation_metrics(some_rollouts(moved_mask, [uid[i] for i in order], high_group=moved_high, **moved))
    assert got == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_repetition_equals_counting_with_sets(seed):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 2 + seed, (12, 90), generator=generator)
    mask = torch.rand(12, 90, generator=generator) < torch.linspace(0.03, 1.0, 12)[:, None]
    mask[:, 40] = True
    for window, n in ((64, 4), (10, 2), (200, 3)):
        got = repeated_ngram_frac(ids, mask, window, n)
        for row in range(12):
            tail = ids[row][mask[row]].tolist()[-window:]
            grams = [tuple(tail[i : i + n]) for i in range(len(tail) - n + 1)]
            expected = 1 - len(set(grams)) / len(grams) if grams else 0.0
            assert got[row].item() == pytest.approx(expected, abs=1e-12)
