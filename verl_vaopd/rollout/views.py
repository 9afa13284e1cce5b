"""The degraded view of a rollout's images, and how it travels beside the clean one.

VA-OPD (arXiv:2605.21924) Sec. 2.1: the degraded image keeps its size, hence the number of visual tokens, so that
both views align token for token.
"""

from __future__ import annotations

from typing import Any

from PIL import Image
from tensordict import NonTensorData, NonTensorStack, TensorDict
from verl.utils.tensordict_utils import nested_tensor_from_tensor_list

from verl_vaopd.actor.nested import rows
from verl_vaopd.images import pixelate

FIELD = "degraded_multi_modal_inputs"
"""Field of a rollout: the processor's outputs for the degraded images, and `position_ids` (4, S) of that view."""

DEGRADATIONS = {"pixelate": pixelate}
"""View kinds by name (`view.kind`); each takes an image and its options (`view.*` without `kind`)."""


def degrade(image: Image.Image, kind: str, **options: Any) -> Image.Image:
    """The degraded view of one image. Raises ValueError for an unknown kind."""
    if kind not in DEGRADATIONS:
        raise ValueError(f"unknown view.kind {kind!r}: expected one of {sorted(DEGRADATIONS)}")
    return DEGRADATIONS[kind](image, **options)


def degraded_rows(micro_batch: TensorDict) -> TensorDict:
    """The same rollouts with the degraded images and that view's own position ids.

    A row without images (verl's padding rows, text-only prompts) has no other view: it is scored as it is.
    """
    clean = [_plain(row) for row in micro_batch["multi_modal_inputs"]]
    degraded = [_plain(row) for row in micro_batch[FIELD]]
    positions = rows(micro_batch["position_ids"])
    views: list[dict[str, Any]] = []
    view_positions = []
    for clean_inputs, degraded_inputs, clean_positions in zip(clean, degraded, positions, strict=True):
        if not clean_inputs:
            views.append({})
            view_positions.append(clean_positions)
            continue
        views.append({key: value for key, value in degraded_inputs.items() if key != "position_ids"})
        view_positions.append(degraded_inputs["position_ids"].to(clean_positions.device))
    batch = micro_batch.copy()
    batch["multi_modal_inputs"] = NonTensorStack(*[NonTensorData(view) for view in views])
    batch["position_ids"] = nested_tensor_from_tensor_list(view_positions)
    return batch


def _plain(row: Any) -> dict[str, Any]:
    return row.data if isinstance(row, NonTensorData) else row
