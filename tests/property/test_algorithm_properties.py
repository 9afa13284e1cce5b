"""What must hold for every batch: properties of the weights and of the fused divergence, on generated cases."""

from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tolerances import assert_close
from verl_vaopd.algorithms import fused_divergence
from verl_vaopd.algorithms.token_weights import high_group, token_weights
from verl_vaopd.algorithms.visual_advantage import rollout_weights, visual_advantage

seeded = settings(derandomize=True, deadline=None, max_examples=60)
fractions = st.sampled_from([0.01, 0.1, 0.2, 0.3, 0.5, 0.99, 1.0])
coefficients = st.sampled_from([0.0, 0.3, 0.5, 1.0])
switches = st.fixed_dictionaries({"rollout_weighting": st.booleans(), "token_grouping": st.booleans()})


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
@given(batches(), fractions)
def test_the_high_group_dominates_the_low_one(batch, high_frac):
    advantage, mask, _ = batch
    high = high_group(advantage, mask, high_frac)
    for row in range(len(mask)):
        low = mask[row] & ~high[row]
        assert not (high[row] & ~mask[row]).any()
        if low.any():
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


@seeded
@given(
    st.integers(1, 9),
    st.integers(1, 12),
    st.integers(0, 2**31),
    st.sampled_from(["reverse_kl", "forward_kl"]),
    st.lists(st.integers(0, 9), max_size=3),
)
def test_micro_batches_add_up_to_the_whole_batch(num_tokens, chunk_size, seed, kind, cuts):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((num_tokens, 4), (13, 4), (num_tokens, 6), (13, 6))
    tensors = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    weights = torch.rand(num_tokens, generator=generator, dtype=torch.float64)
    fused = getattr(fused_divergence, kind)

    def gradients_over(parts):
        student_hidden, student_head = (tensor.clone().requires_grad_() for tensor in tensors[:2])
        total = 0.0
        for part in parts:
            values = fused(student_hidden[part], student_head, tensors[2][part], tensors[3], chunk_size=chunk_size)
            loss = (weights[part] * values).sum()
            loss.backward()
            total += loss.detach()
        return total, student_hidden.grad, student_head.grad

    bounds = [0, *sorted(min(cut, num_tokens) for cut in cuts), num_tokens]
    parts = [slice(start, end) for start, end in pairwise(bounds)]
    for actual, expected in zip(gradients_over(parts), gradients_over([slice(0, num_tokens)]), strict=True):
        assert_close(actual, expected, "float64")


@seeded
@given(st.integers(1, 40), st.integers(2, 60), st.sampled_from([0.1, 1.0, 30.0]), st.integers(0, 2**31))
def test_divergences_are_not_negative(num_tokens, vocab_size, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(num_tokens, 3, generator=generator)
    head = scale * torch.randn(vocab_size, 3, generator=generator)
    for kind in (fused_divergence.reverse_kl, fused_divergence.forward_kl):
        assert (kind(hidden, head, hidden * (1 + 1e-6), head) >= 0).all()
