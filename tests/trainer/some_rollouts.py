"""Rollouts for tests that look at a few of their members: the others hold nothing of interest."""

from collections.abc import Sequence
from typing import Any

import torch

from verl_vaopd.trainer.rollouts import Rollouts


def some_rollouts(response_mask: torch.Tensor, uid: Sequence[str], **members: Any) -> Rollouts:
    """N rollouts of 3 prompt tokens; `members` are those of Rollouts, and per-token values by name."""
    number = len(response_mask)
    own = {
        "question_id": [f"question {prompt}" for prompt in uid],
        "rollout_index": list(range(number)),
        "prompts": torch.zeros(number, 3, dtype=torch.int64),
        "responses": torch.arange(response_mask.numel()).reshape(response_mask.shape),
        "truncated": torch.zeros(number, dtype=torch.bool),
        "accuracy": torch.ones(number),
        "num_tokens": 3 * number + int(response_mask.sum()),
    }
    own |= {name: members.pop(name) for name in own.keys() & members.keys()}
    return Rollouts(uid=uid, response_mask=response_mask, per_token=members, **own)
