"""The package against the loop-based float64 reference in paper.py."""

import pytest
import torch

from tests.reference import paper
from tests.reference.batches import random_batch
from tests.tolerances import assert_close
from verl_vaopd.algorithms import divergence
from verl_vaopd.algorithms.token_weights import high_group, masked_opd_weights, token_weights
from verl_vaopd.algorithms.visual_advantage import rollout_weights, visual_advantage

SHAPES = [
    pytest.param([1], 1, 0, id="one-token"),
    pytest.param([1, 1, 1], 9, 0, id="no-siblings"),
    pytest.param([4, 4, 4], 31, 0, id="four-siblings"),
    pytest.param([4, 1, 3, 2], 50, 0, id="failed-siblings"),
    pytest.param([4, 3], 40, 3, id="ties"),
]
SWITCHES = [(True, True), (True, False), (False, True), (False, False)]


@pytest.mark.parametrize(("num_siblings", "max_tokens", "distinct"), SHAPES)
@pytest.mark.parametrize(("rollout_weighting", "token_grouping"), SWITCHES)
@pytest.mark.parametrize(
    ("high_frac", "high_coef", "temperature"), [(0.2, 0.5, 1.0), (0.1, 0.9, 0.5), (1.0, 0.3, 2.0), (0.3, 0.0, 1.0)]
)
def test_weighted_sum_is_the_loss_of_the_paper(
    num_siblings, max_tokens, distinct, rollout_weighting, token_grouping, high_frac, high_coef, temperature
):
    batch = random_batch(len(num_siblings) + max_tokens, num_siblings, max_tokens, distinct)
    options = {
        "high_frac": high_frac,
        "high_coef": high_coef,
        "temperature": temperature,
        "rollout_weighting": rollout_weighting,
        "token_grouping": token_grouping,
    }
    weights = token_weights(batch.values, batch.mask, batch.uid, **options)
    expected = paper.vaopd_loss(batch.nested(batch.values), batch.nested(batch.other), **options)

    loss = (weights * batch.other.nan_to_num(0)).sum()
    assert_close(loss, torch.tensor(expected), "float32")


@pytest.mark.parametrize(("num_siblings", "max_tokens", "distinct"), SHAPES)
@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"high_rule": "mass", "high_mass": 0.7}, lambda tokens: paper.positions_holding(tokens, 0.7)),
        ({"high_rule": "mass", "high_mass": 1.0}, lambda tokens: paper.positions_holding(tokens, 1.0)),
        (
            {"high_rule": "threshold", "high_threshold": 0.125},
            lambda tokens: {position for position, value in enumerate(tokens) if value > 0.125},
        ),
    ],
)
def test_other_high_groups(num_siblings, max_tokens, distinct, options, rule):
    batch = random_batch(5, num_siblings, max_tokens, distinct)
    high = high_group(batch.values, batch.mask, **options)
    for row, mask in enumerate(batch.mask):
        assert set(high[row].nonzero().flatten().tolist()) == rule(batch.values[row][mask].tolist())
    weights = token_weights(batch.values, batch.mask, batch.uid, rollout_shrinkage=0.05, high_coef=0.7, **options)
    expected = paper.vaopd_loss(
        batch.nested(batch.values), batch.nested(batch.other), high_coef=0.7, rollout_shrinkage=0.05, high_rule=rule
    )
    assert_close((weights * batch.other.nan_to_num(0)).sum(), torch.tensor(expected), "float32")


@pytest.mark.parametrize(("num_siblings", "max_tokens", "distinct"), SHAPES)
@pytest.mark.parametrize("which", ["high", "low"])
@pytest.mark.parametrize("frac", [0.1, 0.3, 0.55, 0.99])
def test_masked_opd(num_siblings, max_tokens, distinct, which, frac):
    batch = random_batch(9, num_siblings, max_tokens, distinct)
    weights = masked_opd_weights(batch.values, batch.mask, batch.uid, which, frac)
    expected = paper.masked_opd_loss(batch.nested(batch.values), batch.nested(batch.other), which, frac)
    assert_close((weights * batch.other.nan_to_num(0)).sum(), torch.tensor(expected), "float32")


@pytest.mark.parametrize(("num_siblings", "max_tokens", "distinct"), SHAPES)
@pytest.mark.parametrize("rollout_shrinkage", [0.0, 0.1])
def test_rollout_weights(num_siblings, max_tokens, distinct, rollout_shrinkage):
    batch = random_batch(7, num_siblings, max_tokens, distinct)
    options = {"temperature": 0.7, "rollout_shrinkage": rollout_shrinkage}
    weights = rollout_weights(batch.values, batch.mask, batch.uid, **options)
    of_prompt = dict(zip(dict.fromkeys(batch.uid), batch.nested(batch.values), strict=True))
    for name, siblings in of_prompt.items():
        rows = [row for row, uid in enumerate(batch.uid) if uid == name]
        expected = torch.tensor(paper.rollout_weights(siblings, **options), dtype=torch.float64)
        assert_close(weights[rows], expected, "float32")


@pytest.mark.parametrize("high_frac", [0.01, 0.1, 0.2, 0.3, 0.55, 0.7, 1.0])
def test_high_group(high_frac):
    for tokens in range(1, 61):
        batch = random_batch(tokens, [2], tokens, distinct=4)
        high = high_group(batch.values, batch.mask, high_frac)
        for row in range(2):
            expected = paper.high_positions(batch.values[row][batch.mask[row]].tolist(), high_frac)
            assert set(high[row].nonzero().flatten().tolist()) == expected


def test_visual_advantage():
    batch = random_batch(3, [3, 2], 20)
    clean, degraded = -batch.values, -batch.other
    advantage = visual_advantage(clean, degraded, batch.mask)
    for row, mask in enumerate(batch.mask):
        expected = paper.visual_advantage(clean[row][mask].tolist(), degraded[row][mask].tolist())
        assert_close(advantage[row][mask], torch.tensor(expected), "float32")
        assert (advantage[row][~mask] == 0).all()


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
@pytest.mark.parametrize(("padding", "temperature"), [((0, 0), 1.0), ((3, 0), 1.0), ((2, 5), 2.5)])
def test_divergences(scale, padding, temperature):
    generator = torch.Generator().manual_seed(11)
    vocab_size = 40
    spread = scale * temperature  # so that distributions are as far apart at every temperature
    student = spread * torch.randn(6, vocab_size + padding[0], generator=generator, dtype=torch.float64)
    teacher = spread * torch.randn(6, vocab_size + padding[1], generator=generator, dtype=torch.float64)
    rows = [
        tuple(paper.at_temperature(side[:vocab_size].tolist(), temperature) for side in pair)
        for pair in zip(student, teacher, strict=True)
    ]
    pairs = [
        (divergence.reverse_kl, {}, [paper.kl(s, t) for s, t in rows]),
        (divergence.forward_kl, {}, [paper.kl(t, s) for s, t in rows]),
        (divergence.js_divergence, {}, [paper.js(s, t, 0.5) for s, t in rows]),
        (divergence.js_divergence, {"beta": 0.1}, [paper.js(s, t, 0.1) for s, t in rows]),
    ]
    if scale >= 1:  # at 0.01 it is the difference of bucket masses 100,000 times as large, and rounds as they do
        pairs.append((divergence.top_k_reverse_kl, {"k": 7}, [paper.top_k_kl(s, t, 7) for s, t in rows]))
    for function, options, expected in pairs:
        actual = function(student, teacher, vocab_size=vocab_size, temperature=temperature, **options)
        assert_close(actual, torch.tensor(expected, dtype=torch.float64), "float64")


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("k", [1, 7, 38, 39])
def test_top_k_reverse_kl(scale, k):
    generator = torch.Generator().manual_seed(12)
    student, teacher = scale * torch.randn(2, 6, 40, generator=generator, dtype=torch.float64)
    values = divergence.top_k_reverse_kl(student, teacher, k).tolist()
    expected = [paper.top_k_kl(s, t, k) for s, t in zip(student.tolist(), teacher.tolist(), strict=True)]
    # The log-ratio of the rest is rounded as its two logarithms are, however small it is.
    assert values == pytest.approx(expected, rel=1e-11, abs=1e-14)
