import math

import pytest
import torch

from verl_vaopd.algorithms.visual_advantage import divergence_gap, rollout_weights, visual_advantage


def test_gain_of_the_clean_view_cut_at_zero():
    clean = torch.tensor([[-0.5, -2.0, -1.0]])
    degraded = torch.tensor([[-1.5, -1.0, -1.0]])
    advantage = visual_advantage(clean, degraded, torch.ones(1, 3))
    assert advantage.tolist() == [[1.0, 0.0, 0.0]]
    assert advantage.dtype == torch.float32


def test_masked_places_are_zero_and_may_hold_anything():
    clean = torch.tensor([[-0.5, torch.nan, torch.inf], [torch.nan, -1.0, -1.0]])
    degraded = torch.tensor([[-1.0, 0.0, torch.nan], [-torch.inf, -3.0, -1.5]])
    mask = torch.tensor([[1, 0, 0], [0, 1, 1]])
    assert visual_advantage(clean, degraded, mask).tolist() == [[0.5, 0.0, 0.0], [0.0, 2.0, 0.5]]


def test_gap_of_the_divergences_counts_either_way():
    degraded = torch.tensor([[1.5, 0.25, 1.0, torch.nan]])
    clean = torch.tensor([[0.5, 2.0, 1.0, 0.0]])
    gap = divergence_gap(degraded, clean, torch.tensor([[1, 1, 1, 0]]))
    assert gap.tolist() == [[1.0, 1.75, 0.0, 0.0]]
    assert gap.dtype == torch.float32


def test_the_gap_is_the_mean_over_the_students_tokens_of_what_eq_2_takes_from_the_sampled_one():
    # The student gives the digit on the image 3/4 and a wrong one 1/4; the teacher sees it (7/8) or does not (1/2).
    student = torch.tensor([0.75, 0.25])
    clean, degraded = torch.tensor([0.875, 0.125]).log(), torch.tensor([0.5, 0.5]).log()
    kl, degraded_kl = ((student * (student.log() - teacher)).sum()[None, None] for teacher in (clean, degraded))
    gap = divergence_gap(degraded_kl, kl, torch.ones(1, 1))
    expected = 0.75 * math.log(0.875 / 0.5) + 0.25 * math.log(0.125 / 0.5)
    assert gap.item() == pytest.approx(expected, rel=1e-6)
    # Eq. 2 gives the wrong digit nothing, should it be the one that was sampled.
    assert visual_advantage(clean[None, 1:], degraded[None, 1:], torch.ones(1, 1)).item() == 0


def test_a_digit_that_the_student_misreads_counts():
    """The student is sure of the wrong one; the teacher sees the right one, or nothing."""
    student = torch.tensor([1 / 64, 63 / 64])
    clean, degraded = torch.tensor([0.875, 0.125]).log(), torch.tensor([0.5, 0.5]).log()
    kl, degraded_kl = ((student * (student.log() - teacher)).sum()[None, None] for teacher in (clean, degraded))
    gap = divergence_gap(degraded_kl, kl, torch.ones(1, 1))
    assert gap.item() == pytest.approx(63 / 64 * math.log(4) - 1 / 64 * math.log(1.75), rel=1e-5)


def test_bfloat16_is_subtracted_in_float32():
    # -0.0078125 - (-8.0) is 7.9921875, which bfloat16 would round to 8.
    clean = torch.tensor([[-0.0078125]], dtype=torch.bfloat16)
    degraded = torch.tensor([[-8.0]], dtype=torch.bfloat16)
    assert visual_advantage(clean, degraded, torch.ones(1, 1)).item() == 7.9921875


def test_no_gradient_reaches_the_teacher():
    clean = torch.randn(2, 3, requires_grad=True)
    degraded = torch.randn(2, 3, requires_grad=True)
    advantage = visual_advantage(clean, degraded, torch.ones(2, 3))
    assert not advantage.requires_grad
    assert not divergence_gap(clean, degraded, torch.ones(2, 3)).requires_grad
    assert not rollout_weights(clean, torch.ones(2, 3), [0, 0]).requires_grad


def test_inputs_are_left_alone():
    clean, degraded = torch.tensor([[-1.0, torch.nan]]), torch.tensor([[-2.0, -3.0]])
    kept = clean.clone(), degraded.clone()
    visual_advantage(clean, degraded, torch.tensor([[1, 0]]))
    assert torch.equal(clean.nan_to_num(9), kept[0].nan_to_num(9))
    assert torch.equal(degraded, kept[1])


def test_weights_printed_in_the_paper():
    # Means 0.045, 0.030, 0.020, 0.010 around 0.02625 with population standard deviation 0.01293: z = 1.450, 0.290,
    # -0.483, -1.257, and their softmax is what the paper's method figure prints.
    means = torch.tensor([0.045, 0.030, 0.020, 0.010])
    weights = rollout_weights(means[:, None].expand(4, 6), torch.ones(4, 6), ["a"] * 4)
    assert [round(weight, 3) for weight in weights.tolist()] == [0.656, 0.206, 0.095, 0.044]


def test_mean_is_over_the_rollouts_own_tokens():
    # Both rollouts have mean 0.5 over their own tokens, 2 and 4 of them.
    advantage = torch.tensor([[1.0, 0.0, 7.0, 7.0], [1.0, 0.0, 1.0, 0.0]])
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
    assert rollout_weights(advantage, mask, ["a", "a"]).tolist() == [0.5, 0.5]


def test_two_siblings_weigh_by_the_sign_of_their_difference():
    # With two siblings, population z-scores are +1 and -1 (0.1 is far above eps): softmax gives 1 / (1 + e**-2).
    weights = rollout_weights(torch.tensor([[0.3], [0.1]]), torch.ones(2, 1), [5, 5])
    assert weights[0].item() == pytest.approx(1 / (1 + torch.e**-2), abs=1e-4)


@pytest.mark.parametrize("num_siblings", [1, 2, 3, 7])
def test_equal_siblings_share_equally(num_siblings):
    advantage = torch.full((num_siblings, 5), 0.1)
    weights = rollout_weights(advantage, torch.ones(num_siblings, 5), ["a"] * num_siblings)
    assert weights.tolist() == pytest.approx([1 / num_siblings] * num_siblings, rel=1e-6)


def test_prompts_do_not_mix():
    advantage = torch.tensor([[1.0], [50.0], [3.0], [70.0]])
    weights = rollout_weights(advantage, torch.ones(4, 1), ["a", "b", "a", "b"])
    assert weights[0] + weights[2] == pytest.approx(1.0)
    assert weights[0].item() == pytest.approx(weights[1].item(), rel=1e-4)


def test_lower_temperature_is_sharper():
    advantage, mask = torch.tensor([[0.3], [0.1]]), torch.ones(2, 1)
    weights = [rollout_weights(advantage, mask, [0, 0], temperature=t)[0].item() for t in (0.25, 1.0, 4.0)]
    assert weights[0] > weights[1] > weights[2] > 0.5


def test_shrinkage_makes_a_small_spread_count_less():
    # Two siblings at distance 2s have z = -+s / (s + shrinkage): without it -+1 for any s.
    for half in (0.001, 0.1, 10.0):
        advantage, mask = torch.tensor([[2 * half], [0.0]]), torch.ones(2, 1)
        shrunk = rollout_weights(advantage, mask, [0, 0], rollout_shrinkage=0.1)[0].item()
        assert shrunk == pytest.approx(1 / (1 + math.exp(-2 * half / (half + 0.1))), abs=1e-4)
    assert torch.equal(
        rollout_weights(advantage, mask, [0, 0], rollout_shrinkage=0.0), rollout_weights(advantage, mask, [0, 0])
    )


@pytest.mark.parametrize("uid", [["x", "y", "x"], [("a", 1), ("b", 2), ("a", 1)], torch.tensor([9, 4, 9])])
def test_uids_of_any_kind(uid):
    advantage = torch.tensor([[0.3], [0.2], [0.1]])
    weights = rollout_weights(advantage, torch.ones(3, 1), uid)
    assert weights[1] == 1
    assert weights[0] + weights[2] == pytest.approx(1.0)


def test_no_rollouts_give_no_weights():
    assert rollout_weights(torch.empty(0, 4), torch.empty(0, 4), []).shape == (0,)


def two_rows(**changes):
    arguments = {
        "teacher_log_probs": -torch.ones(2, 3),
        "degraded_teacher_log_probs": -torch.ones(2, 3),
        "response_mask": torch.ones(2, 3),
    }
    return arguments | changes


def with_value(value, row=1, token=2):
    tensor = -torch.ones(2, 3)
    tensor[row, token] = value
    return tensor


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"divergence": with_value(torch.nan)}, "^divergence: got nan at rollout 1, token 2"),
        ({"degraded_divergence": with_value(torch.inf)}, "^degraded_divergence: got inf at rollout 1, token 2"),
        ({"divergence": torch.ones(2, 4)}, r"shapes differ.*divergence \(2, 4\)"),
        ({"response_mask": torch.tensor([[1, 1, 1], [0, 0, 0]])}, "rollouts 1 have no response token"),
    ],
)
def test_divergence_gap_rejects(changes, message):
    arguments = {name: torch.ones(2, 3) for name in ("degraded_divergence", "divergence", "response_mask")}
    with pytest.raises(ValueError, match=message):
        divergence_gap(**(arguments | changes))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", ["teacher_log_probs", "degraded_teacher_log_probs"])
def test_non_finite_values_are_reported_with_their_place(name, value):
    with pytest.raises(ValueError, match=rf"^{name}: got .* at rollout 1, token 2"):
        visual_advantage(**two_rows(**{name: with_value(value)}))


@pytest.mark.parametrize("name", ["teacher_log_probs", "degraded_teacher_log_probs", "response_mask"])
def test_unequal_shapes(name):
    with pytest.raises(ValueError, match=rf"shapes differ.*{name} \(2, 4\)"):
        visual_advantage(**two_rows(**{name: torch.ones(2, 4)}))


def test_empty_response():
    with pytest.raises(ValueError, match="rollouts 1 have no response token"):
        visual_advantage(**two_rows(response_mask=torch.tensor([[1, 1, 1], [0, 0, 0]])))


def test_mask_is_not_weights():
    with pytest.raises(ValueError, match=r"got 0\.5 at rollout 1, token 2, expected 0 or 1"):
        visual_advantage(**two_rows(response_mask=with_value(0.5).abs()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0.0}, "^temperature: got 0.0"),
        ({"temperature": -1.0}, "^temperature: got -1.0"),
        ({"temperature": float("nan")}, "^temperature: got nan"),
        ({"eps": 0.0}, "^eps: got 0.0"),
        ({"rollout_shrinkage": -0.1}, r"^rollout_shrinkage: got -0\.1, expected at least 0 nats"),
        ({"rollout_shrinkage": float("nan")}, "^rollout_shrinkage: got nan"),
        ({"uid": ["a"]}, "^uid: got 1 values, expected 2"),
        ({"uid": torch.tensor([0.5, 0.5])}, "^uid: got a torch.float32 tensor"),
        ({"visual_advantage": with_value(torch.nan)}, "^visual_advantage: got nan at rollout 1, token 2"),
        ({"visual_advantage": torch.ones(2, 4)}, "shapes differ"),
        ({"response_mask": torch.tensor([[0, 0, 0], [1, 1, 1]])}, "rollouts 0 have no response token"),
    ],
)
def test_rollout_weights_reject(changes, message):
    arguments = {"visual_advantage": torch.ones(2, 3), "response_mask": torch.ones(2, 3), "uid": ["a", "a"]}
    with pytest.raises(ValueError, match=message):
        rollout_weights(**(arguments | changes))
