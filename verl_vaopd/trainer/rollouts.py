"""The rollouts of a step or a validation as the driver knows them: one record that grows as more becomes known."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from verl_vaopd.algorithms import checks
from verl_vaopd.runs.per_token import require_known


@dataclass(frozen=True)
class Rollouts:
    """N real rollouts: no padding rows. Tensors are padded with zeros at the right to T response or P prompt tokens.

    Attributes:
        uid: N values, one per prompt of the step; siblings share it.
        question_id: N questions of the data set.
        rollout_index: N numbers of rollouts among their siblings.
        prompts, responses, response_mask: [N, P], [N, T], [N, T] int64.
        truncated: [N] bool; cut by the length limit.
        accuracy: [N] float; NaN where not scored.
        num_tokens: of prompts and responses.
        per_token: [N, T] tensors by names of runs/per_token.py.
    Raises:
        ValueError: a name that is not in that table, or unequal shapes.
    """

    uid: Sequence[str]
    question_id: Sequence[str]
    rollout_index: Sequence[int]
    prompts: torch.Tensor
    responses: torch.Tensor
    response_mask: torch.Tensor
    truncated: torch.Tensor
    accuracy: torch.Tensor
    num_tokens: int
    per_token: Mapping[str, torch.Tensor] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        require_known(self.per_token)
        checks.require_same_shape(response_mask=self.response_mask, responses=self.responses, **self.per_token)
        checks.require_same_shape(truncated=self.truncated, accuracy=self.accuracy, rollouts=self.response_mask[:, 0])

    @property
    def lengths(self) -> torch.Tensor:
        """[N] response tokens."""
        return self.response_mask.sum(dim=1)

    def adding(self, **per_token: torch.Tensor) -> Rollouts:
        """The same with more known of each token."""
        return dataclasses.replace(self, per_token={**self.per_token, **per_token})


def concatenated(parts: Sequence[Rollouts]) -> Rollouts:
    """One after the other, padded to the longest. All parts know the same of each token; there is at least one."""
    uids, questions, numbers = (
        [value for part in parts for value in getattr(part, name)] for name in ("uid", "question_id", "rollout_index")
    )

    def joined(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
        found = list(tensors)
        width = max(tensor.shape[1] for tensor in found)
        return torch.cat([functional.pad(tensor, (0, width - tensor.shape[1])) for tensor in found])

    return Rollouts(
        uid=uids,
        question_id=questions,
        rollout_index=numbers,
        prompts=joined(part.prompts for part in parts),
        responses=joined(part.responses for part in parts),
        response_mask=joined(part.response_mask for part in parts),
        truncated=torch.cat([part.truncated for part in parts]),
        accuracy=torch.cat([part.accuracy for part in parts]),
        num_tokens=sum(part.num_tokens for part in parts),
        per_token={name: joined(part.per_token[name] for part in parts) for name in parts[0].per_token},
    )
