"""Jagged batches of verl: the few conversions that engines, workers and trainer share.

TransferQueue returns rows of one length as an ordinary stacked tensor and rows of different lengths as a jagged
nested one; both mean the same here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def rows(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The rows of a jagged or stacked [B, T, ...] tensor, each [T_b, ...]."""
    return list(tensor.unbind(0))


def row_lengths(tensor: torch.Tensor) -> torch.Tensor:
    """[B] int64: length of every row of a jagged or stacked [B, T, ...] tensor."""
    if tensor.is_nested:
        return tensor.offsets().diff()  # type: ignore[attr-defined]  # only nested tensors have it
    return torch.full((tensor.shape[0],), tensor.shape[1], dtype=torch.int64, device=tensor.device)


def flat_values(tensor: torch.Tensor) -> torch.Tensor:
    """All rows of a jagged or stacked [B, T, ...] tensor, one after the other: [sum T_b, ...]."""
    if not tensor.is_nested:
        return tensor.flatten(0, 1)
    # values() of a view may hold more than the rows: concatenate what the rows are.
    return torch.cat(rows(tensor)) if tensor.shape[0] else tensor.values()


def pad(tensor: torch.Tensor, value: float = 0.0) -> torch.Tensor:
    """[B, T_max, ...] with `value` to the right of every shorter row."""
    return torch.nn.utils.rnn.pad_sequence(rows(tensor), batch_first=True, padding_value=value)


def nest(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Jagged nested [B, T_b, ...] from its rows."""
    return torch.nested.as_nested_tensor(list(tensors), layout=torch.jagged)


def nest_like(padded: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Jagged nested tensor of the first `lengths[b]` columns of every row of a padded [B, T, ...] tensor."""
    return nest([row[:length] for row, length in zip(padded, lengths.tolist(), strict=True)])
