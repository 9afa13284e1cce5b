"""What must hold for every batch: properties of visual advantage and token weights, on generated cases."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tolerances import assert_close
from verl_vaopd.algorithms.token_weights import high_group, masked_opd_weights, token_weights
from verl_vaopd.algorithms.visual_advantage import rollout_weights, visual_advantage

seeded = settings(derandomize=True, deadline=None, max_examples=60)
fractions = st.sampled_from([0.01, 0.1, 0.2, 0.3, 0.5, 0.99, 1.0])
coefficients = st.sampled_from([0.0, 0.3, 0.5, 1.0])
switches = st.fixed_dictionaries(
    {
        "rollout_weighting": st.booleans(),
        "token_grouping": st.booleans(),
        "high_rule": st.sampled_from(["fraction", "mass", "threshold"]),
        "rollout_shrinkage": st.sampled_from([0.0, 0.1]),
    }
)


@st.composite
def batches(draw):
    """Visual advantage [N, T] in eighths with many ties, a mask with holes, and uids in any order."""
    num_rollouts, num_tokens = draw(st.integers(1, 8)), draw(st.integers(1, 12))
    cells = num_rollouts * num_tokens
    eighths = draw(st.lists(st.integers(0, 5), min_size=cells, max_size=cells))
    bits = draw(st.lists(st.booleans(), min_size=cells, max_size=cells))
    advantage = torch.tensor(eighths).view(num_rollouts, num_tokens) / 8
    mask = torch.tensor(bits).view(num_rollouts, num_tokens)
    mask[torch.arange(num_rollouts), draw(st.integers(0, num_tokens - 1))] = True
    uid = draw(st.lists(st.sampled_from("abc"), min_size=num_rollouts, max_size=num_rollouts))
    return advantage, mask, uid


@seeded
@given(batches(), fractions, coefficients, switches)
def test_weights_of_a_prompt_sum_to_its_share(batch, high_frac, high_coef, options):
    advantage, mask, uid = batch
    weights = token_weights(advantage, mask, uid, high_frac, high_coef, **options)
    assert (weights >= 0).all()
    assert (weights[~mask] == 0).all()
    for prompt in set(uid):
        rows = [row for row, name in enumerate(uid) if name == prompt]
        assert_close(weights[rows].sum(), torch.tensor(1 / len(set(uid))), "float32")


@seeded
@given(batches(), fractions, st.sampled_from(["fraction", "mass", "threshold"]))
def test_the_high_group_dominates_the_low_one(batch, high_frac, high_rule):
    advantage, mask, _ = batch
    high = high_group(advantage, mask, high_frac, high_rule, high_mass=high_frac)
    for row in range(len(mask)):
        low = mask[row] & ~high[row]
        assert not (high[row] & ~mask[row]).any()
        if low.any() and high[row].any():
            assert advantage[row][high[row]].min() >= advantage[row][low].max()


@seeded
@given(batches(), st.sampled_from([torch.nan, torch.inf, -torch.inf, 1e30]), switches)
def test_masked_values_change_nothing(batch, junk, options):
    advantage, mask, uid = batch
    dirty = torch.where(mask, advantage, junk)
    assert torch.equal(token_weights(dirty, mask, uid, **options), token_weights(advantage, mask, uid, **options))
    assert torch.equal(rollout_weights(dirty, mask, uid), rollout_weights(advantage, mask, uid))
    clean, degraded = torch.where(mask, -advantage, junk), torch.where(mask, -2 * advantage, junk)
    assert torch.equal(visual_advantage(clean, degraded, mask), torch.where(mask, advantage, 0.0))


@seeded
@given(batches(), st.randoms(use_true_random=False), switches)
def test_row_order_changes_nothing(batch, random, options):
    advantage, mask, uid = batch
    order = random.sample(range(len(uid)), len(uid))
    weights = token_weights(advantage, mask, uid, **options)
    permuted = token_weights(advantage[order], mask[order], [uid[row] for row in order], **options)
    assert_close(permuted, weights[order], "float32")


@seeded
@given(batches(), st.integers(1, 5), switches)
def test_padding_on_the_right_changes_nothing(batch, extra, options):
    advantage, mask, uid = batch
    shape = (len(uid), extra)
    padded_advantage = torch.cat([advantage, torch.full(shape, torch.nan)], dim=1)
    padded_mask = torch.cat([mask, torch.zeros(shape, dtype=torch.bool)], dim=1)
    padded = token_weights(padded_advantage, padded_mask, uid, **options)
    assert_close(padded[:, : mask.shape[1]], token_weights(advantage, mask, uid, **options), "float32")
    assert (padded[:, mask.shape[1] :] == 0).all()


@seeded
@given(batches())
def test_names_of_prompts_change_nothing(batch):
    advantage, mask, uid = batch
    numbers = torch.tensor([7 * ord(name) for name in uid])
    assert torch.equal(token_weights(advantage, mask, numbers), token_weights(advantage, mask, uid))


@seeded
@given(batches())
def test_equal_views_have_no_visual_advantage_and_then_siblings_are_equal(batch):
    log_probs, mask, uid = batch
    advantage = visual_advantage(-log_probs, -log_probs, mask)
    assert (advantage == 0).all()
    plain = token_weights(advantage, mask, uid, rollout_weighting=False)
    assert_close(token_weights(advantage, mask, uid), plain, "float32")


@seeded
@given(batches())
def test_both_switches_off_is_the_mean_over_tokens_siblings_and_prompts(batch):
    advantage, mask, uid = batch
    weights = token_weights(advantage, mask, uid, rollout_weighting=False, token_grouping=False)
    siblings = torch.tensor([uid.count(name) for name in uid])
    expected = mask / mask.sum(dim=1, keepdim=True) / siblings[:, None] / len(set(uid))
    assert_close(weights, expected, "float32")


groups = st.sampled_from(["high", "low", "random"])
masked_fractions = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.99])


def masked(batch, which, frac, seed=0):
    return masked_opd_weights(*batch, which, frac, torch.Generator().manual_seed(seed))


@seeded
@given(batches(), groups, masked_fractions)
def test_masked_opd_keeps_the_weight_of_each_rollout_and_leaves_out_enough(batch, which, frac):
    _, mask, _ = batch
    weights, plain = masked(batch, which, frac), masked(batch, which, 0.0)
    assert_close(weights.sum(dim=1), plain.sum(dim=1), "float32")
    for row in range(len(mask)):
        num_tokens = int(mask[row].sum())
        kept = weights[row] > 0
        assert not (kept & ~mask[row]).any()
        num_left_out = num_tokens - int(kept.sum())
        assert num_left_out == min(-int(-round(100 * frac) * num_tokens // 100), num_tokens - 1)
        assert len(set(weights[row][kept].tolist())) == 1


@seeded
@given(batches(), groups)
def test_masked_opd_without_a_mask_is_exactly_standard_opd(batch, which):
    standard = token_weights(*batch, rollout_weighting=False, token_grouping=False)
    assert torch.equal(masked(batch, which, 0.0), standard)


@seeded
@given(batches(), st.sampled_from(["high", "low"]), masked_fractions)
def test_masked_opd_leaves_out_the_end_it_names(batch, which, frac):
    advantage, mask, _ = batch
    weights = masked(batch, which, frac)
    for row in range(len(mask)):
        left_out, kept = (advantage[row][mask[row] & chosen] for chosen in (weights[row] == 0, weights[row] > 0))
        if len(left_out):
            assert left_out.min() >= kept.max() if which == "high" else left_out.max() <= kept.min()


@seeded
@given(batches(), groups, masked_fractions, st.integers(1, 5), st.sampled_from([torch.nan, torch.inf, 1e30]))
def test_masked_opd_does_not_see_padding_nor_what_is_masked(batch, which, frac, extra, junk):
    advantage, mask, uid = batch
    shape = (len(uid), extra)
    dirty = torch.cat([torch.where(mask, advantage, junk), torch.full(shape, junk)], dim=1)
    padded_mask = torch.cat([mask, torch.zeros(shape, dtype=torch.bool)], dim=1)
    padded = masked((dirty, padded_mask, uid), which, frac)
    assert torch.equal(padded[:, : mask.shape[1]], masked(batch, which, frac))
    assert (padded[:, mask.shape[1] :] == 0).all()


@seeded
@given(batches(), st.randoms(use_true_random=False), st.sampled_from(["high", "low"]), masked_fractions)
def test_masked_opd_does_not_see_row_order(batch, random, which, frac):
    advantage, mask, uid = batch
    order = random.sample(range(len(uid)), len(uid))
    permuted = masked((advantage[order], mask[order], [uid[row] for row in order]), which, frac)
    assert torch.equal(permuted, masked(batch, which, frac)[order])
