"""Corrupted views of a rollout's images, and how they travel beside the clean one.

VA-OPD (arXiv:2605.21924) Sec. 2.1: the teacher scores a degraded view. PAPO (arXiv:2507.06448): the student scores a
masked one. Both keep the image's size, hence the number of visual tokens, so that views align token for token.
"""

from __future__ import annotations

from typing import Any

from tensordict import NonTensorData, NonTensorStack, TensorDict
from verl.utils.tensordict_utils import nested_tensor_from_tensor_list

from verl_vaopd.engine.fields import IMAGES, INPUT_IDS, LOSS_MASK, POSITION_IDS, PRIVILEGED_INPUTS
from verl_vaopd.engine.nested import rows


def other_view(micro_batch: TensorDict, field: str) -> TensorDict:
    """The same rollouts with the images of `field` (DEGRADED_INPUTS or MASKED_INPUTS) and that view's own position ids.

    A row without images (verl's padding rows, text-only prompts) has no other view: it is scored as it is.
    """
    clean = [_plain(row) for row in micro_batch[IMAGES]]
    others = [_plain(row) for row in micro_batch[field]]
    positions = rows(micro_batch[POSITION_IDS])
    views: list[dict[str, Any]] = []
    view_positions = []
    for clean_inputs, other_inputs, clean_positions in zip(clean, others, positions, strict=True):
        if not clean_inputs:
            views.append({})
            view_positions.append(clean_positions)
            continue
        views.append({key: value for key, value in other_inputs.items() if key != POSITION_IDS})
        view_positions.append(other_inputs[POSITION_IDS].to(clean_positions.device))
    batch = micro_batch.copy()
    batch[IMAGES] = NonTensorStack(*[NonTensorData(view) for view in views])
    batch[POSITION_IDS] = nested_tensor_from_tensor_list(view_positions)
    return batch


def privileged_view(batch: TensorDict) -> TensorDict:
    """The same responses after the prompts that hold the reference solution. verl's padding rows stay as they are."""
    privileged = [_plain(row) for row in batch[PRIVILEGED_INPUTS]]
    padding = [not mask.any() for mask in rows(batch[LOSS_MASK])]
    view = batch.copy()
    del view[PRIVILEGED_INPUTS]
    for name in (INPUT_IDS, POSITION_IDS):
        own = rows(batch[name])
        view[name] = nested_tensor_from_tensor_list(
            [
                row if is_padding else inputs[name].to(row.device)
                for row, inputs, is_padding in zip(own, privileged, padding, strict=True)
            ]
        )
    return view


def _plain(row: Any) -> dict[str, Any]:
    return row.data if isinstance(row, NonTensorData) else row
