"""The actor's loss: one weight per token, times that token's divergence.

All of VA-OPD's Eq. 3-6, its ablations and Standard OPD differ in `token_weights` only, which the driver computes
over whole sibling groups. A plain weighted sum is the same number under any micro-batching, row order or
data-parallel size.
"""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu

from verl_vaopd.actor.nested import flat_values


def weighted_divergence_loss(
    model_output: dict[str, torch.Tensor], data: TensorDict, dp_group: Any = None
) -> tuple[torch.Tensor, dict[str, Any]]:
    """dp_size * sum(token_weights * reverse_kl) over the micro-batch.

    FSDP averages gradients over the dp_size ranks and verl divides by nothing else, so the factor makes the sum
    over all micro-batches and ranks exactly sum(token_weights * reverse_kl) of the global batch.

    Args:
        model_output: `reverse_kl` jagged [B, response length] float32 nats; gradient flows.
        data: `token_weights` jagged, same lengths, float32; zero on padding rows and masked tokens.
    Returns: scalar loss in nats, and no metrics: those come from the per-token outputs, exactly.
    """
    divergence = flat_values(model_output["reverse_kl"])
    weights = flat_values(data["token_weights"]).to(divergence.device)
    # A masked token may hold anything, even inf: 0 * inf would poison the sum.
    divergence = torch.where(weights > 0, divergence, 0.0)
    return tu.get_non_tensor_data(data=data, key="dp_size", default=None) * (weights * divergence).sum(), {}
