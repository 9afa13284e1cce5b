"""How a weight is spread over prompts, siblings and tokens: the parts that weightings are made of.

Axes: N rollouts of all prompts, T tokens, B prompts, K siblings (rollouts of one prompt).
"""

from collections.abc import Hashable, Sequence

import torch

from verl_vaopd.algorithms import checks
from verl_vaopd.algorithms.visual_advantage import sibling_table


@torch.no_grad()
def uniform_weights(response_mask: torch.Tensor, uid: Sequence[Hashable] | torch.Tensor) -> torch.Tensor:
    """Standard OPD: mean over a rollout's tokens, then over siblings, then over prompts.

    Args:
        response_mask: [N, T] bool or 0/1.
        uid: N hashables or an integer tensor [N], one value per prompt, rows in any order.
    Returns: [N, T] float32, >= 0; 0 where masked; sums to 1/B per uid.
    Raises:
        ValueError: an empty response, or a uid too many or too few.
    """
    mask = checks.valid_tokens(response_mask)
    return share_of_prompt(equal_rollout_weights(uid, mask), uid) * spread(mask)


def share_of_prompt(weights_of_rollouts: torch.Tensor, uid: Sequence[Hashable] | torch.Tensor) -> torch.Tensor:
    """[N, 1]: the weight of each rollout in the mean over prompts."""
    num_prompts = len(sibling_table(uid, len(weights_of_rollouts)))
    return weights_of_rollouts[:, None] / max(num_prompts, 1)


def equal_rollout_weights(uid: Sequence[Hashable] | torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """[N] float32: 1/K for each of K siblings."""
    siblings = sibling_table(uid, len(mask)).to(mask.device)
    present = siblings >= 0
    weights = spread(present)
    result = torch.zeros(len(mask), device=mask.device)
    result[siblings[present]] = weights[present]
    return result


def grouped_weights(high: torch.Tensor, mask: torch.Tensor, high_coef: float) -> torch.Tensor:
    """[N, T] weights that sum to 1 per rollout: high_coef over the high group, the rest over the low group.

    If either group is empty, the other gets everything, which is Standard OPD within the rollout.
    """
    low = mask & ~high
    coef = torch.where(low.any(dim=1, keepdim=True), high_coef, 1.0)
    coef = torch.where(high.any(dim=1, keepdim=True), coef, 0.0)
    return coef * spread(high) + (1 - coef) * spread(low)


def spread(group: torch.Tensor) -> torch.Tensor:
    """[N, T] float32: 1 / size of the group at its members, 0 elsewhere."""
    return group.float() / group.sum(dim=1, keepdim=True).clamp_min(1)
