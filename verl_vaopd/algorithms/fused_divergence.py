"""Divergences per token straight from hidden states and LM heads, without ever holding N x V values.

Same numbers and gradients as divergence.py on `hidden @ head.T` (Eq. 1 of arXiv:2605.21924), which a test shows.

Axes: N tokens, V vocabulary, d_S and d_T hidden sizes, C tokens of a chunk. Per chunk, the logits of both sides are
held in the dtype of the hidden states; the softmax runs over a few rows at a time in float32 (float64 for float64
inputs), at the divergence's temperature. Heads have no bias.

Where the gradient comes from. With p = softmax of the student's logits s, dKL_n/ds_n depends on token n alone, so
one pass over the chunks gives, besides KL_n, the gradient of KL_n to student_hidden[n]; backward only scales its rows.
The gradient to the head is a sum over tokens, sum_n g_n (dKL_n/ds_n) x hidden_n, and needs the incoming gradient g.
The caller usually knows g beforehand up to a factor (the token weights): it is passed as `expected_grad`, the sum is
built in the same pass, and backward scales it. If g turns out to be something else, backward computes the logits
again and the result is as right, only slower.
"""

from typing import NamedTuple

import torch

from verl_vaopd.algorithms import checks, chunked_pass
from verl_vaopd.algorithms.chunk_sizes import CHUNK_SIZE
from verl_vaopd.algorithms.chunked_autograd import divergence_over_chunks
from verl_vaopd.algorithms.chunked_pass import Plan, Tensors
from verl_vaopd.algorithms.divergences import NLL, VocabularyDivergence
from verl_vaopd.algorithms.log_space import compute_dtype


class FusedOutput(NamedTuple):
    """Per-token results, each [N] float32 (float64 for float64 inputs), in nats.

    divergence: of the kind asked for, >= 0; gradient flows to student_hidden and student_head.

    Where token ids are given, at temperature 1 whatever that of the divergence, without gradient:

    student_log_probs: log-probability of token_ids under the student, <= 0.
    student_entropy, teacher_entropy: >= 0.
    reverse_kl: the exact KL(student || teacher), whatever the kind, >= 0.
    """

    divergence: torch.Tensor
    student_log_probs: torch.Tensor | None = None
    student_entropy: torch.Tensor | None = None
    teacher_entropy: torch.Tensor | None = None
    reverse_kl: torch.Tensor | None = None


def fused_divergence(
    divergence: VocabularyDivergence,
    student_hidden: torch.Tensor,
    student_head: torch.Tensor,
    teacher_hidden: torch.Tensor,
    teacher_head: torch.Tensor,
    token_ids: torch.Tensor | None = None,
    vocab_size: int | None = None,
    chunk_size: int = CHUNK_SIZE,
    expected_grad: torch.Tensor | None = None,
) -> FusedOutput:
    """A divergence per token, and what the metrics need of the same logits.

    Args:
        divergence: which one, with its options, its temperature among them.
        student_hidden: [N, d_S] float, final hidden states; gradient flows.
        student_head: [V_S, d_S], dtype of student_hidden; gradient flows.
        teacher_hidden: [N, d_T] float; treated as constant.
        teacher_head: [V_T, d_T], dtype of teacher_hidden; treated as constant.
        token_ids: [N] integer, the sampled tokens; None: the divergence alone.
        vocab_size: number of leading head rows that are token ids; needed when either head is padded.
        chunk_size: tokens per chunk; changes memory and speed, no number.
        expected_grad: [N] gradient of the loss to the divergence, up to a constant factor (the token weights); None
            stands for equal weights. Saves time where it is right, changes no number where it is not.
    Returns: see FusedOutput. The divergence can be differentiated once, not twice.
    Raises:
        ValueError: shapes or dtypes that do not fit, vocab_size or chunk_size out of range, token_ids of another shape,
            not integer or outside the vocabulary, NaN or infinity (but see divergence.top_k_reverse_kl for -inf).
    """
    if not isinstance(divergence, VocabularyDivergence):
        raise ValueError(f"divergence: got {divergence!r}, expected one over the vocabulary, such as ReverseKL()")
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
    checks.require_expected_grad(expected_grad, num_tokens)
    plan = Plan(divergence, size, chunk_size, torch.is_grad_enabled(), divergence.temperature)
    tensors = Tensors(student_hidden, student_head, teacher_hidden, teacher_head, token_ids)
    output = FusedOutput(*divergence_over_chunks(tensors, plan, expected_grad, want_statistics=token_ids is not None))
    checks.require_finite_rows("divergence", output.divergence)
    return output


@torch.no_grad()
def token_log_probs(
    hidden: torch.Tensor,
    head: torch.Tensor,
    token_ids: torch.Tensor,
    vocab_size: int | None = None,
    chunk_size: int = CHUNK_SIZE,
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
    size = _checked_vocab_size(hidden, head, token_ids, vocab_size, chunk_size)
    result = torch.empty(len(hidden), dtype=compute_dtype(hidden), device=hidden.device)
    with torch.autocast(hidden.device.type, enabled=False):
        for chunk in chunked_pass.slices(len(hidden), chunk_size):
            logits = hidden[chunk] @ head[:size].T
            for block in chunked_pass.blocks(logits):
                log_probs = torch.log_softmax(logits[block].to(result.dtype), dim=-1)
                result[chunk][block] = log_probs.gather(1, token_ids[chunk][block, None]).squeeze(1)
    checks.require_finite_rows("token_log_probs", result)
    return result


def token_log_probs_with_entropy(
    hidden: torch.Tensor,
    head: torch.Tensor,
    token_ids: torch.Tensor,
    vocab_size: int | None = None,
    chunk_size: int = CHUNK_SIZE,
    temperature: float = 1.0,
    expected_grad: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each token, for policy-gradient and likelihood losses, and the entropy of its distribution.

    Args:
        hidden: [N, d] float, final hidden states; gradient flows.
        head: [V, d], dtype of hidden; gradient flows.
        token_ids: [N] integer.
        vocab_size: number of leading head rows that are token ids; None for all.
        chunk_size: tokens per chunk; changes memory and speed, no number.
        temperature: the logits are divided by it, for both results.
        expected_grad: [N] gradient of the loss to the log-probabilities, up to a constant factor; None stands for equal
            weights. Saves time where it is right, changes no number where it is not.
    Returns: two [N] float32 (float64 for float64 inputs) in nats: log-probabilities <= 0, to be differentiated once,
        not twice; entropy >= 0, without gradient.
    Raises:
        ValueError: shapes or dtypes that do not fit, token_ids outside the vocabulary, temperature not above 0,
            chunk_size out of range, NaN or infinity.
    """
    size = _checked_vocab_size(hidden, head, token_ids, vocab_size, chunk_size)
    checks.require_positive("temperature", temperature)
    checks.require_expected_grad(expected_grad, len(hidden))
    plan = Plan(NLL(), size, chunk_size, torch.is_grad_enabled(), temperature)
    tensors = Tensors(hidden, head, None, None, token_ids)
    negative_log_probs, entropy = divergence_over_chunks(tensors, plan, expected_grad, want_statistics=True)
    checks.require_finite_rows("token_log_probs", negative_log_probs)
    return -negative_log_probs, entropy


def _checked_vocab_size(
    hidden: torch.Tensor, head: torch.Tensor, token_ids: torch.Tensor, vocab_size: int | None, chunk_size: int
) -> int:
    """The number of token ids, once hidden states, head and ids are found to fit."""
    checks.require_hidden_and_head("hidden", hidden, "head", head)
    size = checks.common_vocab_size(len(head), len(head), vocab_size)
    checks.require_token_ids(token_ids, len(hidden), size)
    checks.require_chunk_size(chunk_size)
    return size
