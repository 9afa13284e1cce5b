"""One pass over tokens in chunks: logits, softmax, divergence, statistics and gradients (see fused_divergence).

Axes: N tokens, V vocabulary, d_S and d_T hidden sizes, C tokens of a chunk, R tokens of a block of a chunk.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from verl_vaopd.algorithms.divergence import compute_dtype

# Elements worked on at a time in float32: few enough for a CPU's caches and its allocator's free lists (larger blocks
# go back to the system and fault in again each time), enough to keep a GPU busy.
_BLOCK_ELEMENTS = {"cpu": 2**21, "cuda": 2**26}


# Student hidden [N, d_S] and head [V_S, d_S], teacher hidden [N, d_T] and head [V_T, d_T].
Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
# From log p_S, p_S and log p_T, each [R, V]: the divergence [R] and its gradient to the student's logits [R, V].
KLOfRows = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def reverse_kl_of_rows(
    log_s: torch.Tensor, p_s: torch.Tensor, log_t: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """KL(student || teacher); a KLOfRows."""
    log_ratio = log_s - log_t
    value = (p_s * log_ratio).sum(dim=-1)
    return value, log_ratio.sub_(value[:, None]).mul_(p_s)


def forward_kl_of_rows(
    log_s: torch.Tensor, p_s: torch.Tensor, log_t: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """KL(teacher || student); a KLOfRows."""
    p_t = log_t.exp()
    value = (p_t * (log_t - log_s)).sum(dim=-1)
    return value, p_s - p_t


class Plan(NamedTuple):
    """What one pass over the chunks has to do."""

    kl_of_rows: KLOfRows
    vocab_size: int
    chunk_size: int
    grad_enabled: bool


class PassResult(NamedTuple):
    """What one pass over the chunks gives.

    values: [N] divergence.
    statistics: [3, N] log-probabilities of token_ids under the student, its entropy, the teacher's entropy.
    hidden_grad: [N, d_S], row n the gradient of values[n] to student_hidden[n].
    head_grad: [V_S, d_S], the gradient of sum(head_grad_weights * values) to student_head; its dtype is left to the
        caller, who casts it when the chunks' memory is free again.
    """

    values: torch.Tensor
    statistics: torch.Tensor | None
    hidden_grad: torch.Tensor | None
    head_grad: torch.Tensor | None


def pass_over_chunks(
    tensors: Tensors,
    plan: Plan,
    token_ids: torch.Tensor | None = None,
    *,
    want_hidden_grad: bool = False,
    head_grad_weights: torch.Tensor | None = None,
) -> PassResult:
    """Goes once over all tokens; what is not asked for is None in the result. Runs outside autograd."""
    student_hidden, student_head, teacher_hidden, teacher_head = tensors
    student_head, teacher_head = student_head[: plan.vocab_size], teacher_head[: plan.vocab_size]
    num_tokens, device, dtype = len(student_hidden), student_hidden.device, compute_dtype(*tensors)
    values = torch.empty(num_tokens, dtype=dtype, device=device)
    statistics = values.new_empty(3, num_tokens)
    hidden_grad = torch.empty_like(student_hidden) if want_hidden_grad else None
    head_grad = None if head_grad_weights is None else _HeadGrad(tensors[1], head_grad_weights, plan)
    rows = min(plan.chunk_size, num_tokens)
    student_buffer = student_hidden.new_empty(rows, plan.vocab_size)
    teacher_buffer = teacher_hidden.new_empty(rows, plan.vocab_size)

    for chunk in slices(num_tokens, plan.chunk_size):
        hidden = student_hidden[chunk]
        student_logits = torch.mm(hidden, student_head.T, out=student_buffer[: len(hidden)])
        teacher_logits = torch.mm(teacher_hidden[chunk], teacher_head.T, out=teacher_buffer[: len(hidden)])
        for block in blocks(student_logits):
            log_s = torch.log_softmax(student_logits[block].to(dtype), dim=-1)
            log_t = torch.log_softmax(teacher_logits[block].to(dtype), dim=-1)
            p_s = log_s.exp()
            value, logits_grad = plan.kl_of_rows(log_s, p_s, log_t)
            # Rounding may leave a KL of about zero slightly negative.
            values[chunk][block] = value.clamp_min(0)
            if token_ids is not None:
                sampled = log_s.gather(1, token_ids[chunk][block, None]).squeeze(1)
                entropies = -(p_s * log_s).sum(dim=-1), -(log_t.exp() * log_t).sum(dim=-1)
                statistics[:, chunk][:, block] = torch.stack((sampled, *entropies))
            student_logits[block] = logits_grad
        if hidden_grad is not None:
            torch.mm(student_logits, student_head, out=hidden_grad[chunk])
        if head_grad is not None:
            head_grad.add(chunk, student_logits, hidden)
    return PassResult(
        values,
        None if token_ids is None else statistics,
        hidden_grad,
        None if head_grad is None else head_grad.total,
    )


class _HeadGrad:
    """Weighted sum over tokens of logits_grad x hidden, [V_S, d_S]; rows beyond the vocabulary stay 0.

    The products are made in the head's dtype (tensor cores). The sum over several chunks is float32 at least, for in
    bfloat16 it would lose what later chunks add.
    """

    def __init__(self, head: torch.Tensor, weights: torch.Tensor, plan: Plan):
        self.weights = weights
        single_chunk = len(weights) <= plan.chunk_size
        self.total = torch.zeros_like(head, dtype=head.dtype if single_chunk else compute_dtype(head))

    def add(self, chunk: slice, logits_grad: torch.Tensor, hidden: torch.Tensor) -> None:
        weighted = (hidden * self.weights[chunk, None]).to(hidden.dtype)
        if self.total.dtype == hidden.dtype:
            self.total[: logits_grad.shape[1]].addmm_(logits_grad.T, weighted)
            return
        for tile in slices(logits_grad.shape[1], _block_rows(hidden)):
            self.total[tile] += logits_grad[:, tile].T @ weighted


def slices(length: int, step: int) -> Iterator[slice]:
    """0 to length in steps; the last slice may be shorter."""
    return (slice(start, min(start + step, length)) for start in range(0, length, step))


def blocks(logits: torch.Tensor) -> Iterator[slice]:
    """Row ranges of logits [C, V] that fit the work space of the softmax."""
    return slices(len(logits), _block_rows(logits))


def _block_rows(tensor: torch.Tensor) -> int:
    return max(1, _BLOCK_ELEMENTS[tensor.device.type] // tensor.shape[1])
