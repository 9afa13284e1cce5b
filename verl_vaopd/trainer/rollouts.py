"""The rollouts of a step or a validation as the driver knows them: one record that grows as more becomes known."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

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
