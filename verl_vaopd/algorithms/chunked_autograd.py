"""The gradients of a divergence that is computed in chunks (see fused_divergence for where they come from).

Axes: N tokens, V vocabulary, d_S hidden size of the student.
"""

import torch
from torch.autograd.function import once_differentiable

from verl_vaopd.algorithms import chunked_pass
from verl_vaopd.algorithms.chunked_pass import Plan, Tensors
from verl_vaopd.algorithms.log_space import compute_dtype


def divergence_over_chunks(
    tensors: Tensors, plan: Plan, expected_grad: torch.Tensor | None, *, want_statistics: bool = False
) -> tuple[torch.Tensor, ...]:
    """The divergence [N] of chunked_pass, with gradient to the student's hidden states and head, and its statistics.

    Args:
        tensors: checked by the caller; gradient flows to student_hidden and student_head.
        expected_grad: [N] gradient of the loss to the divergence, up to a constant factor; None for equal weights.
    Returns: the divergence; with want_statistics also the rows of PassResult.statistics, each [N], without gradient.
    """
    student_hidden, student_head, *constants = tensors
    constants = [None if tensor is None else tensor.detach() for tensor in constants]
    with torch.autocast(student_hidden.device.type, enabled=False):
        return _DivergenceOverChunks.apply(
            student_hidden, student_head, *constants, expected_grad, plan, want_statistics
        )


class _DivergenceOverChunks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        student_hidden,
        student_head,
        teacher_hidden,
        teacher_head,
        token_ids,
        expected_grad,
        plan,
        want_statistics,
    ):
        tensors = Tensors(student_hidden, student_head, teacher_hidden, teacher_head, token_ids)
        need_hidden, need_head = (plan.grad_enabled and needed for needed in ctx.needs_input_grad[:2])
        dtype = compute_dtype(*(tensor for tensor in tensors if tensor is not None))
        if expected_grad is None:
            expected_grad = student_hidden.new_ones(len(student_hidden), dtype=dtype)
        expected_grad = expected_grad.detach().to(dtype)
        result = chunked_pass.pass_over_chunks(
            tensors,
            plan,
            want_statistics=want_statistics,
            want_hidden_grad=need_hidden,
            head_grad_weights=expected_grad if need_head else None,
        )
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
                    result = chunked_pass.pass_over_chunks(Tensors(*tensors), ctx.plan, head_grad_weights=grad)
                head_grad = _cast(result.head_grad, tensors[1].dtype)
            elif factor != 1:
                head_grad.mul_(factor)
        return hidden_grad, head_grad, None, None, None, None, None, None


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
