"""What must hold for every batch: properties of the divergences and of PAPO's terms, on generated cases."""

from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tolerances import assert_close
from verl_vaopd.algorithms import divergence
from verl_vaopd.algorithms.divergences import JS, ForwardKL, ReverseKL, TopKReverseKL
from verl_vaopd.algorithms.fused_divergence import fused_divergence, token_log_probs_with_entropy
from verl_vaopd.algorithms.papo import perception_kl, perception_loss

seeded = settings(derandomize=True, deadline=None, max_examples=60)
DIVERGENCES = {"reverse_kl": ReverseKL(), "forward_kl": ForwardKL(), "js": JS(), "top_k": TopKReverseKL(top_k=3)}


@st.composite
def logit_pairs(draw):
    """Logits [N, V] of two sides, from nearly equal to far apart."""
    num_tokens, vocab_size = draw(st.integers(1, 6)), draw(st.integers(2, 30))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = draw(st.sampled_from([0.01, 1.0, 30.0]))
    return tuple(scale * torch.randn(2, num_tokens, vocab_size, generator=generator, dtype=torch.float64))


@seeded
@given(
    st.integers(1, 9),
    st.integers(1, 12),
    st.integers(0, 2**31),
    st.sampled_from(sorted(DIVERGENCES)),
    st.lists(st.integers(0, 9), max_size=3),
)
def test_micro_batches_add_up_to_the_whole_batch(num_tokens, chunk_size, seed, kind, cuts):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((num_tokens, 4), (13, 4), (num_tokens, 6), (13, 6))
    tensors = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    weights = torch.rand(num_tokens, generator=generator, dtype=torch.float64)

    def gradients_over(parts):
        student_hidden, student_head = (tensor.clone().requires_grad_() for tensor in tensors[:2])
        total = 0.0
        for part in parts:
            hidden_and_heads = student_hidden[part], student_head, tensors[2][part], tensors[3]
            values = fused_divergence(DIVERGENCES[kind], *hidden_and_heads, chunk_size=chunk_size).divergence
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
    for kind in DIVERGENCES.values():
        assert (fused_divergence(kind, hidden, head, hidden * (1 + 1e-6), head).divergence >= 0).all()


@seeded
@given(logit_pairs(), st.integers(1, 9), st.sampled_from(sorted(DIVERGENCES)))
def test_chunk_size_changes_nothing(pair, chunk_size, kind):
    identity = torch.eye(pair[0].shape[1], dtype=torch.float64)
    results = []
    for size in (chunk_size, 1000):
        hidden = pair[0].clone().requires_grad_()
        values = fused_divergence(DIVERGENCES[kind], hidden, identity, pair[1], identity, chunk_size=size).divergence
        results.append((values.detach(), *torch.autograd.grad(values.sum(), hidden)))
    for actual, expected in zip(*results, strict=True):
        assert_close(actual, expected, "float64")


@seeded
@given(logit_pairs())
def test_finer_buckets_get_closer_to_the_exact_reverse_kl_from_below(pair):
    exact = divergence.reverse_kl(*pair)
    coarse = [divergence.top_k_reverse_kl(*pair, k) for k in range(1, pair[0].shape[1] + 2)]
    for finer, next_finer in pairwise([*coarse, exact]):
        assert (finer <= next_finer * (1 + 1e-12) + 1e-15).all()
    assert all(torch.equal(values, exact) for values in coarse[-3:])


@seeded
@given(logit_pairs())
def test_jensen_shannon_halfway_is_symmetric_and_at_most_log_two(pair):
    value = divergence.js_divergence(*pair)
    assert torch.allclose(value, divergence.js_divergence(*pair[::-1]), rtol=1e-11, atol=1e-15)
    assert (value <= torch.log(torch.tensor(2.0)) + 1e-6).all()


@seeded
@given(logit_pairs(), st.sampled_from([0.5, 1.0, 2.0]))
def test_log_probs_of_all_tokens_make_a_distribution_of_that_entropy(pair, temperature):
    hidden = pair[0][:1]
    vocab_size = hidden.shape[1]
    identity = torch.eye(vocab_size, dtype=torch.float64)
    log_probs, entropies = token_log_probs_with_entropy(
        hidden.expand(vocab_size, -1), identity, torch.arange(vocab_size), temperature=temperature
    )
    assert_close(log_probs.exp().sum(), torch.tensor(1.0), "float64")
    entropy = -(log_probs.exp() * log_probs).sum()
    assert torch.allclose(entropies, entropy, rtol=1e-11, atol=1e-12)


@seeded
@given(logit_pairs(), st.integers(0, 2**31), st.sampled_from([torch.nan, torch.inf, -torch.inf]))
def test_perception_loss_adds_up_and_does_not_see_order_nor_padding(pair, seed, junk):
    generator = torch.Generator().manual_seed(seed)
    log_probs, masked_log_probs = (-values.abs() for values in pair)
    weights = torch.rand(log_probs.shape, generator=generator, dtype=torch.float64)
    counted = torch.rand(log_probs.shape, generator=generator) < 0.7
    weights = torch.where(counted, weights, 0.0)
    dirty = torch.where(counted, log_probs, junk), torch.where(counted, masked_log_probs, junk)
    whole = perception_loss(log_probs, masked_log_probs, weights, 0.3, 0.1)
    parts = [perception_loss(*tensors, 0.3, 0.1) for tensors in zip(*dirty, weights, strict=True)]
    assert torch.allclose(sum(parts), whole, rtol=1e-11, atol=1e-12)
    order = torch.randperm(log_probs.numel(), generator=generator)
    shuffled = (values.flatten()[order] for values in (*dirty, weights))
    assert torch.allclose(perception_loss(*shuffled, 0.3, 0.1), whole, rtol=1e-11, atol=1e-12)


@seeded
@given(logit_pairs())
def test_perception_kl_is_0_to_10_and_0_where_the_mask_changes_nothing(pair):
    values = perception_kl(*pair)
    assert (values >= 0).all()
    assert (values <= 10).all()
    assert (values[pair[0] != pair[1]] > 0).all()
    assert (perception_kl(pair[0], pair[0]) == 0).all()
