"""One pass over tokens in chunks: logits, softmax, divergence, statistics and gradients (see fused_divergence).

Axes: N tokens, V vocabulary, d_S and d_T hidden sizes, C tokens of a chunk, R tokens of a block of a chunk.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch

from verl_vaopd.algorithms.chunk_sizes import BLOCK_ELEMENTS
from verl_vaopd.algorithms.divergences import NLL, ReverseKL, VocabularyDivergence
from verl_vaopd.algorithms.log_space import compute_dtype


class Tensors(NamedTuple):
    """What a pass reads. The target is the teacher's distribution; without a teacher, all mass on token_ids.

    student_hidden: [N, d_S].
    student_head: [V_S, d_S].
    teacher_hidden: [N, d_T], or None.
    teacher_head: [V_T, d_T], or None.
    token_ids: [N] integer, the sampled tokens; None if there is a teacher and no statistics are wanted.
    """

    student_hidden: torch.Tensor
    student_head: torch.Tensor
    teacher_hidden: torch.Tensor | None
    teacher_head: torch.Tensor | None
    token_ids: torch.Tensor | None


class Plan(NamedTuple):
    """What one pass over the chunks has to do."""

    divergence: VocabularyDivergence | NLL
    """NLL if and only if there is no teacher."""
    vocab_size: int
    chunk_size: int
    grad_enabled: bool
    temperature: float = 1.0
    """Of the softmaxes that are compared."""


class PassResult(NamedTuple):
    """What one pass over the chunks gives.

    values: [N] divergence.
    statistics: [4, N] log-probabilities of token_ids under the student, its entropy, the teacher's entropy, the reverse
        KL, all at temperature 1; without a teacher [1, N], the student's entropy at the plan's.
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
    *,
    want_statistics: bool = False,
    want_hidden_grad: bool = False,
    head_grad_weights: torch.Tensor | None = None,
) -> PassResult:
    """Goes once over all tokens; what is not asked for is None in the result. Runs outside autograd."""
    student = _Logits(tensors.student_hidden, tensors.student_head, plan)
    teacher = None
    if tensors.teacher_hidden is not None and tensors.teacher_head is not None:
        teacher = _Logits(tensors.teacher_hidden, tensors.teacher_head, plan)
    num_tokens, device = len(student.hidden), student.hidden.device
    token_ids = torch.empty(0, device=device) if tensors.token_ids is None else tensors.token_ids
    dtype = compute_dtype(*(tensor for tensor in tensors if tensor is not None))
    values = torch.empty(num_tokens, dtype=dtype, device=device)
    statistics = values.new_empty(1 if teacher is None else 4, num_tokens) if want_statistics else None
    hidden_grad = torch.empty_like(student.hidden) if want_hidden_grad else None
    head_grad = None if head_grad_weights is None else _HeadGrad(tensors.student_head, head_grad_weights, plan)

    for chunk in slices(num_tokens, plan.chunk_size):
        student_logits = student.of(chunk)
        targets = token_ids[chunk] if teacher is None else teacher.of(chunk)
        for block in blocks(student_logits):
            log_s = _log_softmax(student_logits[block].to(dtype), plan.temperature)
            target = targets[block] if teacher is None else _log_softmax(targets[block].to(dtype), plan.temperature)
            p_s = log_s.exp()
            value, logits_grad = plan.divergence.of_rows(log_s, p_s, target)
            # Rounding may leave a KL of about zero slightly negative.
            value = value.clamp_min(0)
            values[chunk][block] = value
            if statistics is not None and teacher is None:
                statistics[0, chunk][block] = _entropy(log_s, p_s)
            elif statistics is not None:
                exact = value if isinstance(plan.divergence, ReverseKL) and plan.temperature == 1 else None
                if plan.temperature != 1:
                    log_s, target = (_log_softmax(logits[block].to(dtype)) for logits in (student_logits, targets))
                    p_s = log_s.exp()
                statistics[:, chunk][:, block] = _statistics(log_s, p_s, target, token_ids[chunk][block], exact)
            student_logits[block] = logits_grad if plan.temperature == 1 else logits_grad.div_(plan.temperature)
        if hidden_grad is not None:
            torch.mm(student_logits, student.head, out=hidden_grad[chunk])
        if head_grad is not None:
            head_grad.add(chunk, student_logits, student.hidden[chunk])
    return PassResult(values, statistics, hidden_grad, None if head_grad is None else head_grad.total)


class _Logits:
    """One side's logits [C, V], chunk after chunk in one buffer."""

    def __init__(self, hidden: torch.Tensor, head: torch.Tensor, plan: Plan):
        self.hidden, self.head = hidden, head[: plan.vocab_size]
        self.buffer = hidden.new_empty(min(plan.chunk_size, len(hidden)), plan.vocab_size)

    def of(self, chunk: slice) -> torch.Tensor:
        hidden = self.hidden[chunk]
        return torch.mm(hidden, self.head.T, out=self.buffer[: len(hidden)])


def _statistics(
    log_s: torch.Tensor, p_s: torch.Tensor, target: torch.Tensor, token_ids: torch.Tensor, exact: torch.Tensor | None
) -> torch.Tensor:
    """[4, R] of a block, as PassResult says; `exact` is the reverse KL where it is known."""
    if exact is None:
        exact = (p_s * (log_s - target)).sum(dim=-1).clamp_min(0)
    sampled = log_s.gather(1, token_ids[:, None]).squeeze(1)
    return torch.stack((sampled, _entropy(log_s, p_s), _entropy(target, target.exp()), exact))


def _entropy(log_probs: torch.Tensor, probs: torch.Tensor) -> torch.Tensor:
    return -(probs * log_probs).sum(dim=-1)


def _log_softmax(logits: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    return torch.log_softmax(logits if temperature == 1 else logits / temperature, dim=-1)


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
    return max(1, BLOCK_ELEMENTS[tensor.device.type] // tensor.shape[1])
