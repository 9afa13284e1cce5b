"""Divergences per token straight from hidden states and LM heads, without ever holding N x V values.

Same numbers and gradients as divergence.py on `hidden @ head.T` (Eq. 1 of arXiv:2605.21924), which a test shows.

Axes: N tokens, V vocabulary, d_S and d_T hidden sizes, C tokens of a chunk. Per chunk, the logits of both sides are
held in the dtype of the hidden states; the softmax runs over a few rows at a time in float32 (float64 for float64
inputs), at temperature 1. Heads have no bias.

Where the gradient comes from. With p = softmax of the student's logits s, dKL_n/ds_n depends on token n alone, so
one pass over the chunks gives, besides KL_n, the gradient of KL_n to student_hidden[n]; backward only scales its rows.
The gradient to the head is a sum over tokens, sum_n g_n (dKL_n/ds_n) x hidden_n, and needs the incoming gradient g.
The caller usually knows g beforehand up to a factor (the token weights): it is passed as `expected_grad`, the sum is
built in the same pass, and backward scales it. If g turns out to be something else, backward computes the logits
again and the result is as right, only slower.
"""

from typing import NamedTuple

import torch
from torch.autograd.function import once_differentiable

from verl_vaopd.algorithms import checks, chunked_pass
from verl_vaopd.algorithms.divergence import compute_dtype

DEFAULT_CHUNK_SIZE = 1024


class FusedOutput(NamedTuple):
    """Per-token results, each [N] float32 (float64 for float64 inputs), in nats.

    divergence: the reverse or forward KL, >= 0; gradient flows to student_hidden and student_head.
    student_log_probs: log-probability of token_ids under the student, <= 0. No gradient.
    student_entropy, teacher_entropy: >= 0. No gradient.
    """

    divergence: torch.Tensor
    student_log_probs: torch.Tensor
    student_entropy: torch.Tensor
    teacher_entropy: torch.Tensor


def reverse_kl(
    student_hidden: torch.Tensor,
    student_head: torch.Tensor,
    teacher_hidden: torch.Tensor,
    teacher_head: torch.Tensor,
    vocab_size: int | None = None,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    expected_grad: torch.Tensor | None = None,
) -> torch.Tensor:
    """KL(student || teacher) per token, in nats.

    Args:
        student_hidden: [N, d_S] float, final hidden states; gradient flows.
        student_head: [V_S, d_S], dtype of student_hidden; gradient flows.
        teacher_hidden: [N, d_T] float; treated as constant.
        teacher_head: [V_T, d_T], dtype of teacher_hidden; treated as constant.
        vocab_size: number of leading head rows that are token ids; needed when either head is padded.
        chunk_size: tokens per chunk; changes memory and speed, no number.
        expected_grad: [N] gradient of the loss to the result, up to a constant factor (the token weights); None
            stands for equal weights. Saves time where it is right, changes no number where it is not.
    Returns: [N] float32 (float64 for float64 inputs), >= 0. Can be differentiated once, not twice.
    Raises:
        ValueError: shapes or dtypes that do not fit, vocab_size or chunk_size out of range, NaN or infinity.
    """
    tensors = (student_hidden, student_head, teacher_hidden, teacher_head)
    return _fused(chunked_pass.reverse_kl_of_rows, tensors, None, vocab_size, chunk_size, expected_grad)[0]


def forward_kl(
    student_hidden: torch.Tensor,
    student_head: torch.Tensor,
    teacher_hidden: torch.Tensor,
    teacher_head: torch.Tensor,
    vocab_size: int | None = None,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    expected_grad: torch.Tensor | None = None,
) -> torch.Tensor:
    """KL(teacher || student) per token, in nats. Everything else as in reverse_kl."""
    tensors = (student_hidden, student_head, teacher_hidden, teacher_head)
    return _fused(chunked_pass.forward_kl_of_rows, tensors, None, vocab_size, chunk_size, expected_grad)[0]


def reverse_kl_with_statistics(
    student_hidden: torch.Tensor,
    student_head: torch.Tensor,
    teacher_hidden: torch.Tensor,
    teacher_head: torch.Tensor,
    token_ids: torch.Tensor,
    vocab_size: int | None = None,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    expected_grad: torch.Tensor | None = None,
) -> FusedOutput:
    """reverse_kl, and what the metrics need of the same logits.

    Args:
        token_ids: [N] integer, the sampled tokens.
        The others: as in reverse_kl.
    Returns: see FusedOutput.
    Raises:
        ValueError: as reverse_kl; also token_ids of another shape, not integer, or outside the vocabulary.
    """
    tensors = (student_hidden, student_head, teacher_hidden, teacher_head)
    return FusedOutput(
        *_fused(chunked_pass.reverse_kl_of_rows, tensors, token_ids, vocab_size, chunk_size, expected_grad)
    )


def forward_kl_with_statistics(
    student_hidden: torch.Tensor,
    student_head: torch.Tensor,
    teacher_hidden: torch.Tensor,
    teacher_head: torch.Tensor,
    token_ids: torch.Tensor,
    vocab_size: int | None = None,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    expected_grad: torch.Tensor | None = None,
) -> FusedOutput:
    """forward_kl, and what the metrics need of the same logits. Everything as in reverse_kl_with_statistics."""
    tensors = (student_hidden, student_head, teacher_hidden, teacher_head)
    return FusedOutput(
        *_fused(chunked_pass.forward_kl_of_rows, tensors, token_ids, vocab_size, chunk_size, expected_grad)
    )


@torch.no_grad()
def token_log_probs(
    hidden: torch.Tensor,
    head: torch.Tensor,
    token_ids: torch.Tensor,
    vocab_size: int | None = None,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
) -> torch.Tensor:
    """Log-probability of each token, in nats.

    Args:
        hidden: [N, d] float, final hidden states. Constant.
        head: [V, d], dtype of hidden. Constant.
        token_ids: [N] integer.
        vocab_size: number of leading head rows that are token ids; None for all.
        chunk_size: tokens per chunk; changes memory and speed, no number.
    Returns: [N] float32 (float64 for float64 inputs), <= 0. No gradient.
    Raises:
        ValueError: shapes or dtypes that do not fit, token_ids outside the vocabulary, NaN or infinity.
    """
    checks.require_hidden_and_head("hidden", hidden, "head", head)
    size = checks.common_vocab_size(len(head), len(head), vocab_size)
    checks.require_token_ids(token_ids, len(hidden), size)
    checks.require_chunk_size(chunk_size)
    result = torch.empty(len(hidden), dtype=compute_dtype(hidden), device=hidden.device)
    with torch.autocast(hidden.device.type, enabled=False):
        for chunk in chunked_pass.slices(len(hidden), chunk_size):
            logits = hidden[chunk] @ head[:size].T
            for block in chunked_pass.blocks(logits):
                log_probs = torch.log_softmax(logits[block].to(result.dtype), dim=-1)
                result[chunk][block] = log_probs.gather(1, token_ids[chunk][block, None]).squeeze(1)
    checks.require_finite_rows("token_log_probs", result)
    return result


def _fused(
    kl_of_rows: chunked_pass.KLOfRows,
    tensors: chunked_pass.Tensors,
    token_ids: torch.Tensor | None,
    vocab_size: int | None,
    chunk_size: int,
    expected_grad: torch.Tensor | None,
) -> tuple[torch.Tensor, ...]:
    """Checks the input and runs the autograd function: (divergence,) or the fields of FusedOutput."""
    student_hidden, student_head, teacher_hidden, teacher_head = tensors
    checks.require_hidden_and_head("student_hidden", student_hidden, "student_head", student_head)
    checks.require_hidden_and_head("teacher_hidden", teacher_hidden, "teacher_head", teacher_head)
    num_tokens = len(student_hidden)
    if len(teacher_hidden) != num_tokens:
        raise ValueError(
            f"hidden states: got {num_tokens} tokens of the student and {len(teacher_hidden)} of the teacher, "
            "expected the same tokens; select the same valid response tokens on both sides"
        )
    size = checks.common_vocab_size(len(student_head), len(teacher_head), vocab_size)
    checks.require_chunk_size(chunk_size)
    if token_ids is not None:
        checks.require_token_ids(token_ids, num_tokens, size)
    if expected_grad is not None and expected_grad.shape != (num_tokens,):
        raise ValueError(
            f"expected_grad: got shape {tuple(expected_grad.shape)}, expected ({num_tokens},); "
            "pass the weight of each row of hidden states"
        )
    plan = chunked_pass.Plan(kl_of_rows, size, chunk_size, torch.is_grad_enabled())
    with torch.autocast(student_hidden.device.type, enabled=False):
        return _FusedDivergence.apply(
            student_hidden, student_head, teacher_hidden.detach(), teacher_head.detach(), token_ids, expected_grad, plan
        )


class _FusedDivergence(torch.autograd.Function):
    """The divergence and its gradients; the module docstring says how they come about."""

    @staticmethod
    def forward(ctx, student_hidden, student_head, teacher_hidden, teacher_head, token_ids, expected_grad, plan):
        tensors = (student_hidden, student_head, teacher_hidden, teacher_head)
        need_hidden, need_head = (plan.grad_enabled and needed for needed in ctx.needs_input_grad[:2])
        dtype = compute_dtype(*tensors)
        if expected_grad is None:
            expected_grad = student_hidden.new_ones(len(student_hidden), dtype=dtype)
        expected_grad = expected_grad.detach().to(dtype)
        result = chunked_pass.pass_over_chunks(
            tensors,
            plan,
            token_ids,
            want_hidden_grad=need_hidden,
            head_grad_weights=expected_grad if need_head else None,
        )
        checks.require_finite_rows("divergence", result.values)
        ctx.save_for_backward(*tensors, expected_grad, result.hidden_grad)
        ctx.plan = plan
        # Not through save_for_backward: autograd takes a gradient over without copying it only if nobody else holds it.
        ctx.head_grad = _cast(result.head_grad, student_head.dtype)
        if result.statistics is None:
            return (result.values,)
        statistics = tuple(row.clone() for row in result.statistics)
        ctx.mark_non_differentiable(*statistics)
        return result.values, *statistics

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, *_):
        *tensors, expected_grad, unit_hidden_grad = ctx.saved_tensors
        hidden_grad = head_grad = None
        if ctx.needs_input_grad[0]:
            hidden_grad = (unit_hidden_grad * grad[:, None]).to(unit_hidden_grad.dtype)
        if ctx.needs_input_grad[1]:
            # Kept once: a second backward over a retained graph has to compute it again.
            head_grad, ctx.head_grad = ctx.head_grad, None
            factor = _common_factor(grad, expected_grad)
            if head_grad is None or factor is None:
                head_grad = None  # frees it
                with torch.autocast(grad.device.type, enabled=False):
                    result = chunked_pass.pass_over_chunks(tensors, ctx.plan, head_grad_weights=grad)
                head_grad = _cast(result.head_grad, tensors[1].dtype)
            elif factor != 1:
                head_grad.mul_(factor)
        return hidden_grad, head_grad, None, None, None, None, None


def _cast(tensor: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    return None if tensor is None else tensor.to(dtype)


def _common_factor(grad: torch.Tensor, expected: torch.Tensor) -> float | None:
    """The number c with grad = c * expected up to rounding, or None if there is none."""
    if len(grad) == 0:
        return 1.0
    largest = expected.abs().argmax()
    factor = grad[largest] / expected[largest]
    rounding = 4 * torch.finfo(grad.dtype).eps
    return factor.item() if torch.allclose(grad, factor * expected, rtol=rounding, atol=0) else None
