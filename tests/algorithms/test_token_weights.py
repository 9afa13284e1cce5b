import pytest
import torch

from verl_vaopd.algorithms.token_weights import (
    TokenWeighting,
    high_group,
    masked_opd_weights,
    rollout_weights,
    token_weights,
)
from verl_vaopd.algorithms.weightings import WEIGHTINGS, Masked, Measured, VisualAdvantage


def ramp(*lengths):
    """Rollouts of the given lengths in which visual advantage rises from token to token."""
    longest = max(lengths)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    return torch.arange(longest).expand(len(lengths), longest).float(), mask


def test_hand_worked_two_siblings():
    # Rollout 0: 5 tokens, ceil(0.2 * 5) = 1 high; rollout 1: 6 tokens, ceil(1.2) = 2 high. Means 1 and 2, so
    # z = -1 and +1 and weights 1 / (1 + e^2) and 1 / (1 + e^-2), up to eps.
    advantage = torch.tensor([[0.0, 5.0, 0.0, 0.0, 0.0, 0.0], [6.0, 0.0, 0.0, 6.0, 0.0, 0.0]])
    mask = torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]])
    low, high = 1 / (1 + torch.e**2), 1 / (1 + torch.e**-2)
    weights = token_weights(advantage, mask, ["p", "p"], high_coef=0.6)
    expected = torch.tensor(
        [
            [low * 0.1, low * 0.6, low * 0.1, low * 0.1, low * 0.1, 0],
            [high * 0.3, high * 0.1, high * 0.1, high * 0.3, high * 0.1, high * 0.1],
        ]
    )
    torch.testing.assert_close(weights, expected, rtol=1e-5, atol=0)
    assert weights.dtype == torch.float32


def test_both_switches_off_is_standard_opd():
    # Prompt p has rollouts of 2 and 4 tokens, prompt q one of 3: mean over tokens, siblings, prompts.
    advantage, mask = ramp(2, 3, 4)
    weights = token_weights(advantage, mask, ["p", "q", "p"], rollout_weighting=False, token_grouping=False)
    expected = torch.tensor([1 / 2 / 2 / 2, 1 / 3 / 1 / 2, 1 / 4 / 2 / 2])[:, None] * mask
    torch.testing.assert_close(weights, expected)


def test_rollout_weighting_alone_spreads_evenly_within_a_rollout():
    advantage, mask = ramp(4, 8)
    weights = token_weights(advantage, mask, ["p", "p"], token_grouping=False)
    assert weights[0, 0] == weights[0, 3]
    assert weights[0].sum().item() == pytest.approx(1 / (1 + torch.e**2), abs=1e-4)


def test_token_grouping_alone_keeps_siblings_equal():
    advantage, mask = ramp(4, 8)
    weights = token_weights(advantage, mask, ["p", "p"], rollout_weighting=False)
    assert weights.sum(dim=1).tolist() == pytest.approx([0.5, 0.5])
    assert weights[0, 3] > weights[0, 0]


@pytest.mark.parametrize(
    ("high_frac", "tokens", "expected"),
    [
        (0.1, 30, 3),  # 3.00000004 with 0.1 in float32
        (0.2, 15, 3),
        (0.3, 10, 3),
        (0.1 + 0.2, 10, 3),  # 3.0000000000000004
        (0.07, 100, 7),  # 7.000000000000001
        (0.14, 50, 7),  # 7.000000000000001
        (0.29, 100, 29),
        (0.55, 100, 55),  # 55.00000000000001
        (1 / 3, 3, 1),
        (2 / 3, 3, 2),
        (0.2, 16, 4),
        (0.2, 11, 3),
        (0.2, 1, 1),
        (1e-9, 5, 1),
        (1.0, 7, 7),
        (1, 7, 7),
        (0.1, 100_000, 10_000),
        (0.1, 100_001, 10_001),
    ],
)
def test_size_of_the_high_group(high_frac, tokens, expected):
    advantage, mask = ramp(tokens)
    assert high_group(advantage, mask, high_frac).sum() == expected


def test_ties_keep_token_order():
    advantage = torch.tensor([[0.0, 2.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0]])
    high = high_group(advantage, torch.ones(1, 10), 0.3)
    assert high[0].nonzero().flatten().tolist() == [1, 2, 3]
    assert high_group(torch.zeros(1, 10), torch.ones(1, 10), 0.3)[0].nonzero().flatten().tolist() == [0, 1, 2]


def test_many_ties_keep_token_order():
    # Long enough for a sort that is stable on short rows only.
    high = high_group(torch.zeros(3, 5000), torch.ones(3, 5000), 0.1)
    assert torch.equal(high, (torch.arange(5000) < 500).expand(3, 5000))


def test_masked_tokens_are_never_high():
    advantage = torch.tensor([[9.0, 0.0, 9.0, 1.0, 0.0, 0.0]])
    mask = torch.tensor([[0, 1, 0, 1, 1, 1]])
    assert high_group(advantage, mask, 0.5)[0].nonzero().flatten().tolist() == [1, 3]
    assert high_group(advantage, mask, 1.0).equal(mask.bool())


@pytest.mark.parametrize("high_coef", [0.0, 0.5, 1.0])
def test_no_low_group_puts_all_mass_on_the_high_one(high_coef):
    assert token_weights(torch.zeros(1, 1), torch.ones(1, 1), ["p"], high_coef=high_coef).item() == 1.0
    weights = token_weights(*ramp(4), ["p"], high_frac=1.0, high_coef=high_coef)
    assert weights.tolist() == [[0.25] * 4]


@pytest.mark.parametrize(("high_coef", "zero"), [(0.0, slice(8, 10)), (1.0, slice(0, 8))])
def test_extreme_coefficients_leave_one_group(high_coef, zero):
    weights = token_weights(*ramp(10), ["p"], high_coef=high_coef)
    assert (weights[0, zero] == 0).all()
    assert weights.sum().item() == pytest.approx(1.0)


def test_a_failed_sibling_is_simply_absent():
    advantage, mask = ramp(5, 7, 6)
    with_three = token_weights(advantage, mask, ["p", "q", "p"])
    with_two = token_weights(advantage[1:], mask[1:], ["q", "p"])
    assert torch.equal(with_three[1], with_two[0])
    assert with_two[1].sum().item() == pytest.approx(0.5)


def test_float64_and_bfloat16_advantages_give_float32_weights():
    advantage, mask = ramp(5, 7)
    expected = token_weights(advantage, mask, ["p", "p"])
    for dtype in (torch.float64, torch.bfloat16):
        weights = token_weights(advantage.to(dtype), mask, ["p", "p"])
        assert weights.dtype == torch.float32
        assert torch.equal(weights, expected)


def test_no_gradient_reaches_the_visual_advantage():
    advantage = torch.rand(2, 5, requires_grad=True)
    assert not token_weights(advantage, torch.ones(2, 5), [0, 0]).requires_grad


def test_no_rollouts_give_no_weights():
    assert token_weights(torch.empty(0, 4), torch.empty(0, 4), []).shape == (0, 4)


def test_high_group_by_mass_is_the_smallest_that_holds_it():
    advantage = torch.tensor([[0.5, 4.0, 0.0, 2.0, 1.0, 0.5], [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]])
    for high_mass, expected in [(0.5, [1]), (0.51, [1, 3]), (0.75, [1, 3]), (0.76, [1, 3, 4]), (1.0, [0, 1, 3, 4, 5])]:
        high = high_group(advantage, mask, high_rule="mass", high_mass=high_mass)
        assert high[0].nonzero().flatten().tolist() == expected
        assert high[1].nonzero().flatten().tolist() == [0]


@pytest.mark.parametrize(("high_mass", "tokens", "expected"), [(0.07, 100, 7), (0.55, 100, 55), (0.1, 30, 3)])
def test_rounding_of_a_share_of_mass_costs_no_token(high_mass, tokens, expected):
    # 0.07 * 100 is 7.000000000000001 in floating point.
    high = high_group(torch.ones(1, tokens), torch.ones(1, tokens), high_rule="mass", high_mass=high_mass)
    assert high[0].nonzero().flatten().tolist() == list(range(expected))


def test_high_group_by_threshold():
    advantage = torch.tensor([[0.5, 0.2, 0.0, 0.25, 9.0]])
    mask = torch.tensor([[1, 1, 1, 1, 0]])
    high = high_group(advantage, mask, high_rule="threshold", high_threshold=0.2)
    assert high.tolist() == [[True, False, False, True, False]]
    assert high_group(advantage, mask, high_rule="threshold", high_threshold=0.0).sum() == 3


@pytest.mark.parametrize(
    "rule", [{"high_rule": "mass", "high_mass": 0.8}, {"high_rule": "threshold", "high_threshold": 0.5}]
)
@pytest.mark.parametrize("high_coef", [0.0, 0.5, 1.0])
def test_no_high_group_is_standard_opd_within_the_rollout(rule, high_coef):
    # Rollout 0 has no visual advantage at all; of rollout 1 the last two tokens hold 9/10 of it.
    advantage = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.1, 0.1, 0.9, 0.9]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    weights = token_weights(advantage, mask, ["p", "p"], high_coef=high_coef, rollout_weighting=False, **rule)
    high, low = high_coef / 4, (1 - high_coef) / 4
    expected = torch.tensor([[1 / 6, 1 / 6, 1 / 6, 0], [low, low, high, high]])
    torch.testing.assert_close(weights, expected)


def test_rollout_shrinkage_reaches_the_weights():
    # Siblings 0.5 apart: z = -+0.25 / (0.25 + 0.25), weights 1 / (1 + e) and 1 / (1 + 1/e).
    advantage = torch.tensor([[0.5], [1.0]])
    weights = token_weights(advantage, torch.ones(2, 1), ["p", "p"], rollout_shrinkage=0.25)
    assert weights.flatten().tolist() == pytest.approx([1 / (1 + torch.e), 1 / (1 + 1 / torch.e)], rel=1e-5)


@pytest.mark.parametrize(("which", "left_out"), [("high", [1, 4]), ("low", [0, 2])])
def test_masked_opd_leaves_out_the_highest_or_the_lowest(which, left_out):
    # 6 tokens, ceil(0.3 * 6) = 2 left out; ties in token order, under "low" too.
    advantage = torch.tensor([[0.0, 3.0, 0.0, 2.0, 3.0, 0.0, 7.0]])
    mask = torch.tensor([[1, 1, 1, 1, 1, 1, 0]])
    weights = masked_opd_weights(advantage, mask, ["p"], which, frac=0.3)
    expected = [0.0 if token in (*left_out, 6) else 0.25 for token in range(7)]
    assert weights.tolist() == [expected]
    assert weights.dtype == torch.float32


def test_masked_opd_keeps_the_weight_of_each_rollout():
    # Prompt p has rollouts of 2 and 4 tokens, prompt q one of 3; one token of each rollout is left out.
    advantage, mask = ramp(2, 3, 4)
    weights = masked_opd_weights(advantage, mask, ["p", "q", "p"], "high")
    expected = torch.tensor([[1 / 4, 0, 0, 0], [1 / 4, 1 / 4, 0, 0], [1 / 12, 1 / 12, 1 / 12, 0]])
    torch.testing.assert_close(weights, expected)


@pytest.mark.parametrize("which", ["high", "low", "random"])
@pytest.mark.parametrize("frac", [0.5, 0.99])
def test_masked_opd_never_leaves_a_rollout_empty(which, frac):
    advantage, mask = ramp(1, 2)
    weights = masked_opd_weights(advantage, mask, ["p", "q"], which, frac=frac)
    assert (weights > 0).sum(dim=1).tolist() == [1, 1]
    assert weights.sum(dim=1).tolist() == [0.5, 0.5]


def test_masked_opd_at_random_is_seeded_and_uniform():
    advantage, mask = ramp(10, 10)

    def left_out(seed, advantage=advantage, mask=mask):
        generator = torch.Generator().manual_seed(seed)
        return (masked_opd_weights(advantage, mask, ["p", "q"], "random", 0.3, generator) == 0) & mask

    assert torch.equal(left_out(1), left_out(1))
    assert not torch.equal(left_out(1), left_out(2))
    counts = sum(left_out(seed).int() for seed in range(1000))
    # Each token is left out in 300 of 1000 draws, with a standard deviation of 14.5.
    assert (counts - 300).abs().max() < 60
    assert torch.equal(left_out(1), left_out(1, advantage=advantage.flip(1)))


def test_masked_opd_at_random_without_a_generator_follows_the_global_seed():
    advantage, mask = ramp(50)
    draws = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        draws.append(masked_opd_weights(advantage, mask, ["p"], "random"))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_masked_opd_has_no_gradient_and_takes_no_rollouts():
    advantage = torch.rand(2, 5, requires_grad=True)
    assert not masked_opd_weights(advantage, torch.ones(2, 5), [0, 0], "high").requires_grad
    assert masked_opd_weights(torch.empty(0, 4), torch.empty(0, 4), [], "low").shape == (0, 4)


@pytest.mark.gpu
def test_cuda_equals_cpu():
    generator = torch.Generator().manual_seed(0)
    advantage = torch.rand(64, 512, generator=generator).mul(8).round() / 8
    mask = torch.arange(512) < torch.randint(1, 513, (64, 1), generator=generator)
    uid = torch.arange(64) // 4
    on_cpu = token_weights(advantage, mask, uid)
    on_cuda = token_weights(advantage.cuda(), mask.cuda(), uid.cuda())
    assert on_cuda.device.type == "cuda"
    torch.testing.assert_close(on_cuda.cpu(), on_cpu)
    for which in ("high", "low", "random"):
        on_cpu, on_cuda = (
            masked_opd_weights(*tensors, uid, which, 0.3, torch.Generator().manual_seed(1))
            for tensors in ((advantage, mask), (advantage.cuda(), mask.cuda()))
        )
        torch.testing.assert_close(on_cuda.cpu(), on_cpu)


def nan_at(row, token):
    tensor = torch.ones(2, 3)
    tensor[row, token] = torch.nan
    return tensor


@pytest.mark.parametrize("switches", [{}, {"rollout_weighting": False, "token_grouping": False}])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"high_frac": 0.0}, r"^high_frac: got 0.0, expected more than 0, at most 1"),
        ({"high_frac": 1.1}, "^high_frac: got 1.1"),
        ({"high_frac": 20}, "^high_frac: got 20"),
        ({"high_frac": float("nan")}, "^high_frac: got nan"),
        ({"high_coef": -0.1}, r"^high_coef: got -0.1, expected between 0 and 1"),
        ({"high_coef": 1.1}, "^high_coef: got 1.1"),
        ({"high_rule": "share"}, "^high_rule: got 'share', expected one of fraction, mass, threshold"),
        ({"high_mass": 0.0}, r"^high_mass: got 0.0, expected more than 0, at most 1"),
        ({"high_mass": 90}, "^high_mass: got 90"),
        ({"high_threshold": -0.1}, "^high_threshold: got -0.1, expected at least 0 nats"),
        ({"high_threshold": float("inf")}, "^high_threshold: got inf"),
        ({"rollout_shrinkage": -1.0}, "^rollout_shrinkage: got -1.0"),
        ({"temperature": 0.0}, "^temperature: got 0.0"),
        ({"eps": -1e-6}, "^eps: got"),
        ({"uid": ["p"] * 3}, "^uid: got 3 values, expected 2"),
        ({"visual_advantage": nan_at(1, 0)}, "^visual_advantage: got nan at rollout 1, token 0"),
        ({"visual_advantage": torch.ones(2, 4)}, "shapes differ"),
        ({"response_mask": torch.tensor([[1, 1, 1], [0, 0, 0]])}, "rollouts 1 have no response token"),
        ({"response_mask": torch.empty(2, 0), "visual_advantage": torch.empty(2, 0)}, "rollouts 0, 1 have no"),
    ],
)
def test_rejects(changes, message, switches):
    arguments = {"visual_advantage": torch.ones(2, 3), "response_mask": torch.ones(2, 3), "uid": ["p", "p"]}
    with pytest.raises(ValueError, match=message):
        token_weights(**(arguments | changes | switches))


@pytest.mark.parametrize("which", ["high", "low", "random"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"which": "top"}, "^which: got 'top', expected one of high, low, random"),
        ({"frac": 1.0}, r"^frac: got 1.0, expected at least 0, less than 1"),
        ({"frac": -0.1}, "^frac: got -0.1"),
        ({"frac": 10}, "^frac: got 10"),
        ({"frac": float("nan")}, "^frac: got nan"),
        ({"uid": ["p"] * 3}, "^uid: got 3 values, expected 2"),
        ({"visual_advantage": nan_at(1, 0)}, "^visual_advantage: got nan at rollout 1, token 0"),
        ({"visual_advantage": torch.ones(2, 4)}, "shapes differ"),
        ({"response_mask": torch.tensor([[1, 1, 1], [0, 0, 0]])}, "rollouts 1 have no response token"),
    ],
)
def test_masked_opd_rejects(changes, message, which):
    arguments = {
        "visual_advantage": torch.ones(2, 3),
        "response_mask": torch.ones(2, 3),
        "uid": ["p", "p"],
        "which": which,
    }
    with pytest.raises(ValueError, match=message):
        masked_opd_weights(**(arguments | changes))


def test_options_by_place_by_name_and_as_one_object_are_the_same():
    advantage, mask = ramp(5, 9, 7)
    uid = ["p", "q", "p"]
    by_name = {"high_frac": 0.3, "high_coef": 0.6, "temperature": 0.5, "eps": 0.1, "rollout_weighting": True}
    expected = token_weights(advantage, mask, uid, **by_name, token_grouping=True)
    assert torch.equal(expected, token_weights(advantage, mask, uid, 0.3, 0.6, 0.5, 0.1, True, True))
    assert torch.equal(expected, token_weights(advantage, mask, uid, TokenWeighting(**by_name)))
    assert torch.equal(expected, token_weights(advantage, mask, uid, TokenWeighting(), **by_name))
    expected = rollout_weights(advantage, mask, uid, temperature=0.5, eps=0.1)
    assert torch.equal(expected, rollout_weights(advantage, mask, uid, 0.5, 0.1))
    assert torch.equal(expected, rollout_weights(advantage, mask, uid, VisualAdvantage(temperature=0.5, eps=0.1)))
    expected = masked_opd_weights(advantage, mask, uid, which="low", frac=0.3)
    assert torch.equal(expected, masked_opd_weights(advantage, mask, uid, "low", 0.3))
    assert torch.equal(expected, masked_opd_weights(advantage, mask, uid, Masked(which="low", frac=0.3)))
    with pytest.raises(TypeError, match="expected at most 6; name them"):
        token_weights(advantage, mask, uid, 0.3, 0.6, 0.5, 0.1, True, True, "mass")
    with pytest.raises(TypeError, match="unexpected keyword argument 'high_fraction'"):
        token_weights(advantage, mask, uid, high_fraction=0.3)


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_every_weighting_gives_each_prompt_its_share(name):
    advantage, mask = ramp(5, 9, 7)
    rollouts = Measured(mask, ["p", "q", "p"], advantage, high_group(advantage, mask))
    weights = WEIGHTINGS[name]().token_weights(rollouts)
    assert weights.shape == mask.shape and weights.dtype == torch.float32 and not weights.requires_grad
    assert (weights[~mask] == 0).all() and (weights >= 0).all()
    assert [weights[[0, 2]].sum().item(), weights[1].sum().item()] == pytest.approx([0.5, 0.5])
