"""The fused divergence at the vocabulary size of Qwen3-VL, on CUDA in bfloat16: numbers, gradients, memory."""

from __future__ import annotations

import pytest
import torch

from verl_vaopd.algorithms import divergence
from verl_vaopd.algorithms.divergences import ReverseKL
from verl_vaopd.algorithms.fused_divergence import fused_divergence

pytestmark = pytest.mark.gpu

VOCAB, TOKENIZER_IDS, STUDENT_HIDDEN, TEACHER_HIDDEN, TOKENS = 151_936, 151_669, 2048, 4096, 512


@pytest.fixture(scope="module")
def inputs() -> dict[str, torch.Tensor]:
    generator = torch.Generator("cuda").manual_seed(0)

    def normal(*shape: int, scale: float) -> torch.Tensor:
        return (torch.randn(*shape, device="cuda", generator=generator) * scale).bfloat16()

    return {
        "student_hidden": normal(TOKENS, STUDENT_HIDDEN, scale=1.0),
        "student_head": normal(VOCAB, STUDENT_HIDDEN, scale=0.05),
        "teacher_hidden": normal(TOKENS, TEACHER_HIDDEN, scale=1.0),
        "teacher_head": normal(VOCAB, TEACHER_HIDDEN, scale=0.035),
    }


def _gradients(kl: torch.Tensor, leaves: list[torch.Tensor]) -> list[torch.Tensor]:
    return list(torch.autograd.grad(kl.sum(), leaves))


def test_equals_the_materialised_form(inputs: dict[str, torch.Tensor]) -> None:
    leaves = [inputs["student_hidden"].clone().requires_grad_(), inputs["student_head"].clone().requires_grad_()]
    teacher = (inputs["teacher_hidden"], inputs["teacher_head"])
    reference = divergence.reverse_kl(leaves[0] @ leaves[1].T, teacher[0] @ teacher[1].T, vocab_size=TOKENIZER_IDS)
    expected = [reference.detach(), *_gradients(reference, leaves)]
    fused = fused_divergence(ReverseKL(), *leaves, *teacher, vocab_size=TOKENIZER_IDS).divergence
    got = [fused.detach(), *_gradients(fused, leaves)]
    # Both round logits to bfloat16; the head's gradient is a sum over tokens that the two add up in different orders.
    for value, wanted, tolerance in zip(got, expected, (1e-4, 2e-2, 2e-2), strict=True):
        assert (value.float() - wanted.float()).norm() <= tolerance * wanted.float().norm()


def test_never_holds_tokens_by_vocabulary_in_float32(inputs: dict[str, torch.Tensor]) -> None:
    leaves = [inputs["student_hidden"].clone().requires_grad_(), inputs["student_head"].clone().requires_grad_()]
    weights = torch.full((TOKENS,), 1 / TOKENS, device="cuda")
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    kl = fused_divergence(
        ReverseKL(),
        *leaves,
        inputs["teacher_hidden"],
        inputs["teacher_head"],
        vocab_size=TOKENIZER_IDS,
        chunk_size=64,
        expected_grad=weights,
    ).divergence
    (weights * kl).sum().backward()
    head_gradient = VOCAB * STUDENT_HIDDEN * (4 + 2)  # accumulated in float32, returned in bfloat16
    assert torch.cuda.max_memory_allocated() - before < TOKENS * VOCAB * 4 + head_gradient
