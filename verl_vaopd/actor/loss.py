"""The actor's loss: weighted divergence, verl's policy loss, and PAPO's perception terms, as the objective asks.

Distillation is one weight per token times that token's divergence. All of VA-OPD's Eq. 3-6, its ablations and Standard
OPD differ in `token_weights` only, which the driver computes over whole sibling groups. A plain weighted sum is the
same number under any micro-batching, row order or data-parallel size; the other terms are normalised over the global
batch by verl, with the same effect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu
from verl.utils.metric import AggregationType, Metric

from verl_vaopd.algorithms.papo import perception_kl, perception_loss
from verl_vaopd.config.objective import Objective
from verl_vaopd.engine import fields
from verl_vaopd.engine.nested import flat_values, nest, rows

PolicyLoss = Callable[..., tuple[torch.Tensor, dict[str, Any]]]


def student_loss(
    model_output: dict[str, torch.Tensor],
    data: TensorDict,
    dp_group: Any = None,
    *,
    objective: Objective,
    policy_loss: PolicyLoss,
) -> tuple[torch.Tensor, dict[str, Any]]:
    """The objective's terms over one micro-batch.

    FSDP averages gradients over the dp_size ranks and verl divides by nothing else, so the factor dp_size makes the sum
    over all micro-batches and ranks exactly the sum over the global batch.

    Args:
        model_output: jagged [B, response length] float32 nats: `divergence`, `policy_log_probs`, as the objective
            needs them; gradient flows.
        data: `token_weights` jagged, same lengths, float32, zero on padding rows and masked tokens; `advantages`,
            `ref_log_prob`, `masked_log_probs`, as the objective needs them.
        policy_loss: verl's `ppo_loss`, its configuration bound.
    Returns: scalar loss, and metrics of its terms, summed over micro-batches.
    """
    loss = torch.zeros((), device=data[fields.INPUT_IDS].device)
    metrics: dict[str, Any] = {}
    if objective.distils:
        loss = loss + weighted_divergence(model_output[fields.DIVERGENCE], data)
    if objective.reward_coef:
        term, metrics = _policy_term(model_output[fields.POLICY_LOG_PROBS], data, objective, policy_loss)
        loss = loss + objective.reward_coef * term
    if objective.needs_masked_view:
        term, perception_metrics = _perception_term(model_output[fields.POLICY_LOG_PROBS], data, objective)
        loss = loss + term
        metrics |= perception_metrics
    return loss, metrics


def weighted_divergence(divergence: torch.Tensor, data: TensorDict) -> torch.Tensor:
    """dp_size * sum(token_weights * divergence)."""
    values = flat_values(divergence)
    weights = flat_values(data[fields.TOKEN_WEIGHTS]).to(values.device)
    # A masked token may hold anything, even inf: 0 * inf would poison the sum.
    values = torch.where(weights > 0, values, 0.0)
    return _setting(data, "dp_size") * (weights * values).sum()


def _policy_term(
    log_probs: torch.Tensor, data: TensorDict, objective: Objective, policy_loss: PolicyLoss
) -> tuple[torch.Tensor, dict[str, Any]]:
    """verl's own policy loss. One optimizer step per batch: the old policy is this one, without gradient."""
    device = data[fields.INPUT_IDS].device
    responses = rows(log_probs)
    # verl cuts responses out of whole sequences, whose entry i belongs to token i + 1: a prompt of one token does.
    tensors: dict[str, torch.Tensor] = {
        fields.PROMPTS: nest([row.new_zeros(1) for row in responses]),
        fields.RESPONSES: nest([torch.zeros_like(row) for row in responses]),
        "old_log_probs": nest([row.detach() for row in responses]),
    }
    read = (fields.RESPONSE_MASK, fields.ADVANTAGES, *((fields.REF_LOG_PROB,) if objective.use_reference else ()))
    tensors |= {name: nest([row.to(device) for row in rows(data[name])]) for name in read}
    batch = TensorDict(tensors, batch_size=[len(responses)])
    settings = ("dp_size", "batch_num_tokens", "global_batch_size")
    tu.assign_non_tensor(batch, **{name: _setting(data, name) for name in settings})
    sequences = nest([torch.cat([row, row.new_zeros(1)]) for row in responses])
    return policy_loss(model_output={"log_probs": sequences}, data=batch)


def _perception_term(
    log_probs: torch.Tensor, data: TensorDict, objective: Objective
) -> tuple[torch.Tensor, dict[str, Any]]:
    """PAPO's terms, averaged over the response tokens of the global batch, like verl's policy loss (token-mean)."""
    clean, masked = flat_values(log_probs), flat_values(data[fields.MASKED_LOG_PROBS])
    mask = flat_values(data[fields.RESPONSE_MASK]).to(clean.device)
    weights = mask.to(clean.dtype) * (_setting(data, "dp_size") / _setting(data, "batch_num_tokens"))
    loss = perception_loss(clean, masked, weights, objective.perception_coef, objective.entropy_coef)
    with torch.no_grad():
        kl = perception_kl(clean.detach()[None], masked.detach()[None])[0]
        mean = (weights * torch.where(mask.bool(), kl, 0.0)).sum()
    return loss, {"perception_kl": Metric(value=mean, aggregation=AggregationType.SUM)}


def _setting(data: TensorDict, name: str) -> Any:
    return tu.get_non_tensor_data(data=data, key=name, default=None)
