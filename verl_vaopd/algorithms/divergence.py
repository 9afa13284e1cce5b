"""Divergences between student and teacher per token, over the whole vocabulary (Eq. 1 of arXiv:2605.21924).

The reference form: it holds several [N, V] tensors. Training uses fused_divergence, which gives the same numbers.
The Jensen-Shannon form is the generalised one of GKD (Agarwal et al., arXiv:2306.13649). The top-k form stands for what
a teacher that hands over its k likeliest tokens only would allow.

Axes: N tokens, V vocabulary. Logits of both sides are divided by a temperature first, and nothing is multiplied by its
square. The results are float32, and float64 if the logits are.
"""

import torch

from verl_vaopd.algorithms import checks
from verl_vaopd.algorithms.divergences import JS, Divergence, TopKReverseKL
from verl_vaopd.algorithms.log_space import coarse_log_ratio, compute_dtype, log_mixture
from verl_vaopd.algorithms.options import require_options


def reverse_kl(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    vocab_size: int | None = None,
    temperature: float = Divergence.temperature,
) -> torch.Tensor:
    """KL(student || teacher) per token, in nats.

    Args:
        student_logits: [N, V_S] float; gradient flows.
        teacher_logits: [N, V_T] float; treated as constant.
        vocab_size: number of leading entries that are token ids; needed when either side is padded.
        temperature: of both sides.
    Returns: [N] float32, >= 0.
    Raises:
        ValueError: shapes that do not fit, vocab_size or temperature out of range, NaN or infinite logits.
    """
    student, teacher = _log_softmax(student_logits, teacher_logits, vocab_size, temperature)
    return _finished("reverse_kl", (student.exp() * (student - teacher)).sum(dim=-1))


def forward_kl(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    vocab_size: int | None = None,
    temperature: float = Divergence.temperature,
) -> torch.Tensor:
    """KL(teacher || student) per token, in nats.

    Args:
        student_logits: [N, V_S] float; gradient flows.
        teacher_logits: [N, V_T] float; treated as constant.
        vocab_size: number of leading entries that are token ids; needed when either side is padded.
        temperature: of both sides.
    Returns: [N] float32, >= 0.
    Raises:
        ValueError: shapes that do not fit, vocab_size or temperature out of range, NaN or infinite logits.
    """
    student, teacher = _log_softmax(student_logits, teacher_logits, vocab_size, temperature)
    return _finished("forward_kl", (teacher.exp() * (teacher - student)).sum(dim=-1))


def js_divergence(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    vocab_size: int | None = None,
    beta: float = JS.js_beta,
    temperature: float = Divergence.temperature,
) -> torch.Tensor:
    """Generalised Jensen-Shannon divergence per token, in nats.

    beta * KL(teacher || m) + (1 - beta) * KL(student || m) with m = beta * teacher + (1 - beta) * student. Divided by
    beta it tends to the forward KL as beta goes to 0; divided by 1 - beta, to the reverse KL as beta goes to 1.

    Args:
        student_logits: [N, V_S] float; gradient flows.
        teacher_logits: [N, V_T] float; treated as constant.
        vocab_size: number of leading entries that are token ids; needed when either side is padded.
        beta: weight of the teacher in the mixture, in (0, 1).
        temperature: of both sides.
    Returns: [N] float32, >= 0 and at most log 2.
    Raises:
        ValueError: shapes that do not fit, vocab_size, beta or temperature out of range, NaN or infinite logits.
    """
    require_options(JS(js_beta=beta))
    student, teacher = _log_softmax(student_logits, teacher_logits, vocab_size, temperature)
    mixture = log_mixture(student, teacher, beta)
    teacher_part = (teacher.exp() * (teacher - mixture)).sum(dim=-1)
    student_part = (student.exp() * (student - mixture)).sum(dim=-1)
    return _finished("js_divergence", beta * teacher_part + (1 - beta) * student_part)


def top_k_reverse_kl(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    k: int,
    vocab_size: int | None = None,
    temperature: float = Divergence.temperature,
) -> torch.Tensor:
    """KL(student || teacher) per token, in nats, with all but the teacher's k likeliest tokens thrown into one bucket.

    Never above the reverse KL, and equal to it from k = V - 1 on. How the student spreads its probability within the
    bucket has no influence, neither on the value nor on the gradient. Which of equally likely tokens are among the k is
    left to torch.topk.

    Args:
        student_logits: [N, V_S] float; gradient flows.
        teacher_logits: [N, V_T] float; treated as constant.
        k: number of tokens with a bucket of their own, at least 1.
        vocab_size: number of leading entries that are token ids; needed when either side is padded.
        temperature: of both sides.
    Returns: [N] float32, >= 0.
    Raises:
        ValueError: shapes that do not fit, k, vocab_size or temperature out of range, NaN or infinite logits, except
            that -inf within the bucket is a probability of 0.
    """
    require_options(TopKReverseKL(top_k=k))
    student, teacher = _log_softmax(student_logits, teacher_logits, vocab_size, temperature)
    return _finished("top_k_reverse_kl", (student.exp() * coarse_log_ratio(student, teacher, k)).sum(dim=-1))


def _log_softmax(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, vocab_size: int | None, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised log-probabilities [N, vocab_size] of both sides at the temperature; the teacher's are detached."""
    checks.require_positive("temperature", temperature)
    if student_logits.dim() != 2 or teacher_logits.dim() != 2 or len(student_logits) != len(teacher_logits):
        raise ValueError(
            f"logits: got shapes {tuple(student_logits.shape)} (student) and {tuple(teacher_logits.shape)} (teacher), "
            "expected [tokens, vocabulary] with the same tokens; flatten rollouts and select valid tokens first"
        )
    size = checks.common_vocab_size(student_logits.shape[1], teacher_logits.shape[1], vocab_size)
    dtype = compute_dtype(student_logits, teacher_logits)
    sides = [logits[:, :size].to(dtype) for logits in (student_logits, teacher_logits.detach())]
    if temperature != 1:
        sides = [logits / temperature for logits in sides]
    student, teacher = (torch.log_softmax(logits, dim=-1) for logits in sides)
    return student, teacher


def _finished(name: str, values: torch.Tensor) -> torch.Tensor:
    """Checks the values and lifts rounding errors below 0 to 0, leaving the gradient as it is."""
    checks.require_finite_rows(name, values)
    return values - values.detach().clamp_max(0)
