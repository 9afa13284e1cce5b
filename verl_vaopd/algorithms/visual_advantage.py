"""Visual advantage of a token and the weights of sibling rollouts (Eq. 2-4 of arXiv:2605.21924).

Axes: N rollouts of all prompts, T tokens, B prompts, K siblings (rollouts of one prompt).

Eq. 2  a_t = max(log p_T(y_t | v) - log p_T(y_t | v~), 0), by the teacher alone, at temperature 1
Eq. 3  z_k = (mean_t a_kt - mean of siblings) / (population standard deviation of siblings + eps)
Eq. 4  w_k = softmax over siblings of z_k / temperature
"""

from collections.abc import Hashable, Sequence
from typing import Any

import torch

from verl_vaopd.algorithms import checks
from verl_vaopd.algorithms.measuring import SiblingSoftmax
from verl_vaopd.algorithms.options import options_from


@torch.no_grad()
def visual_advantage(
    teacher_log_probs: torch.Tensor,
    degraded_teacher_log_probs: torch.Tensor,
    response_mask: torch.Tensor,
) -> torch.Tensor:
    """How much the clean image raises the teacher's log-probability of each sampled token (Eq. 2).

    Args:
        teacher_log_probs: [N, T] float, nats, <= 0; the teacher sees the clean image. Constant.
        degraded_teacher_log_probs: [N, T] float, nats, <= 0; the teacher sees the degraded image. Constant.
        response_mask: [N, T] bool or 0/1; what stands where it is 0 is ignored, NaN included.
    Returns: [N, T] float32, nats, >= 0; 0 where masked. No gradient.
    Raises:
        ValueError: unequal shapes, an empty response, NaN or infinity at a valid token.
    """
    difference = _difference(
        response_mask, teacher_log_probs=teacher_log_probs, degraded_teacher_log_probs=degraded_teacher_log_probs
    )
    return difference.clamp_min(0)


@torch.no_grad()
def divergence_gap(
    degraded_divergence: torch.Tensor, divergence: torch.Tensor, response_mask: torch.Tensor
) -> torch.Tensor:
    """Visual advantage of whole distributions: |KL(p_S || p_T(. | v~)) - KL(p_S || p_T(. | v))| per token.

    The difference is the student's mean, over all tokens it could have written, of log p_T(y | v) - log p_T(y | v~), of
    which Eq. 2 takes the one sampled token. It is positive where the image speaks for what the student believes, and
    negative where it speaks against it: a misread digit, which Eq. 2 cuts to 0 although the image decides it. Hence
    the absolute value.

    Args:
        degraded_divergence: [N, T] float, nats, >= 0; to the teacher that sees the degraded image. Constant.
        divergence: [N, T] float, nats, >= 0; to the teacher that sees the clean image. Constant.
        response_mask: [N, T] bool or 0/1; what stands where it is 0 is ignored, NaN included.
    Returns: [N, T] float32, nats, >= 0; 0 where masked. No gradient.
    Raises:
        ValueError: unequal shapes, an empty response, NaN or infinity at a valid token.
    """
    return _difference(response_mask, degraded_divergence=degraded_divergence, divergence=divergence).abs()


def _difference(response_mask: torch.Tensor, **terms: torch.Tensor) -> torch.Tensor:
    """first - second of two tensors [N, T] passed by name, checked; [N, T] float32, 0 where masked."""
    checks.require_same_shape(**terms, response_mask=response_mask)
    mask = checks.valid_tokens(response_mask)
    for name, values in terms.items():
        checks.require_finite(name, values, mask)
    first, second = terms.values()
    return torch.where(mask, first.float() - second.float(), 0.0)


@torch.no_grad()
def rollout_weights(
    visual_advantage: torch.Tensor,
    response_mask: torch.Tensor,
    uid: Sequence[Hashable] | torch.Tensor,
    *options: SiblingSoftmax | float,
    **named: Any,
) -> torch.Tensor:
    """Weight of each rollout among its siblings, by mean visual advantage (Eq. 3-4).

    Siblings are the rollouts present with one uid: a rollout that failed is simply absent. Equal siblings get 1/K
    each, an only child 1.

    Args:
        visual_advantage: [N, T] float, nats. Constant.
        response_mask: [N, T] bool or 0/1.
        uid: N hashables or an integer tensor [N], one value per prompt, rows in any order.
        options, named: a SiblingSoftmax, or its fields by name or by place. A lower temperature is sharper. About
            rollout_shrinkage: the paper's z-score gives siblings that differ by 0.001 nats the same weights as siblings
            that differ by 1, so a spread that is mere noise acts at full strength. With this at the size of a spread
            worth acting on, a smaller one shrinks the weights towards 1/K.
    Returns: [N] float32; sums to 1 per uid. No gradient.
    Raises:
        ValueError: unequal shapes, an empty response, NaN or infinity at a valid token, an option out of range.
    """
    softmax = options_from(SiblingSoftmax, options, named, order=tuple(SiblingSoftmax.__dataclass_fields__))
    checks.require_same_shape(visual_advantage=visual_advantage, response_mask=response_mask)
    mask = checks.valid_tokens(response_mask)
    checks.require_finite("visual_advantage", visual_advantage, mask)
    siblings = sibling_table(uid, len(mask)).to(mask.device)
    present = siblings >= 0
    num_siblings = present.sum(dim=1, keepdim=True)

    rollout_means = torch.where(mask, visual_advantage.float(), 0.0).sum(dim=1) / mask.sum(dim=1)
    means = torch.where(present, rollout_means[siblings], 0.0)
    deviation = torch.where(present, means - means.sum(dim=1, keepdim=True) / num_siblings, 0.0)
    std = (deviation.square().sum(dim=1, keepdim=True) / num_siblings).sqrt()
    z_scores = deviation / (std + softmax.eps + softmax.rollout_shrinkage)
    weights = torch.softmax((z_scores / softmax.temperature).masked_fill(~present, -torch.inf), dim=1)
    result = torch.zeros_like(rollout_means)
    result[siblings[present]] = weights[present]
    return result


def sibling_table(uid: Sequence[Hashable] | torch.Tensor, num_rollouts: int) -> torch.Tensor:
    """Which rollouts belong to which prompt.

    Args:
        uid: N hashables or an integer tensor [N].
        num_rollouts: N, to check uid against.
    Returns: [B, K] int64 on CPU: row numbers of each prompt's rollouts, in order; -1 fills up prompts that have fewer
        than K = the largest number of siblings. B is the number of different uids, in order of first appearance.
    """
    if isinstance(uid, torch.Tensor) and (uid.dim() != 1 or uid.is_floating_point()):
        raise ValueError(
            f"uid: got a {uid.dtype} tensor of shape {tuple(uid.shape)}, expected an integer tensor [rollouts]; "
            "pass the prompts' numbers"
        )
    keys = uid.tolist() if isinstance(uid, torch.Tensor) else list(uid)
    if len(keys) != num_rollouts:
        raise ValueError(f"uid: got {len(keys)} values, expected {num_rollouts}; pass one per rollout")
    rows_of: dict[Hashable, list[int]] = {}
    for row, key in enumerate(keys):
        rows_of.setdefault(key, []).append(row)
    if not rows_of:
        return torch.empty(0, 0, dtype=torch.int64)
    return torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(rows) for rows in rows_of.values()], batch_first=True, padding_value=-1
    )
