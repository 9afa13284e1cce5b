"""The teacher's LM head, read from its checkpoint without loading the teacher.

The student's ranks need the teacher's head [V, d] to rebuild its distribution from hidden states, wherever the
teacher itself lives. It is one tensor of the checkpoint.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open
from transformers.utils import cached_file

HEAD_NAME = "lm_head.weight"
TIED_NAMES = (
    "model.language_model.embed_tokens.weight",
    "model.embed_tokens.weight",
    "language_model.embed_tokens.weight",
)
"""Names that transformers has given to the input embedding, which is the head when both are tied."""


def load_output_head(model: str, dtype: torch.dtype, device: torch.device | str) -> torch.Tensor:
    """LM head [V, d] of a Hugging Face checkpoint.

    Args:
        model: local directory or hub id with safetensors weights.
        dtype, device: what the result has; the dtype of the teacher's hidden states.
    Raises:
        ValueError: the checkpoint has neither an output head nor a known input embedding.
    """
    index_file = cached_file(model, "model.safetensors.index.json", _raise_exceptions_for_missing_entries=False)
    if index_file is not None:
        weight_map: dict[str, str] = json.loads(Path(index_file).read_text())["weight_map"]
    else:
        with safe_open(_local_file(model, "model.safetensors"), framework="pt") as weights:
            weight_map = dict.fromkeys(weights.keys(), "model.safetensors")
    name = next((name for name in (HEAD_NAME, *TIED_NAMES) if name in weight_map), None)
    if name is None:
        raise ValueError(
            f"no LM head in {model}: expected one of {(HEAD_NAME, *TIED_NAMES)}, got {len(weight_map)} tensors such as "
            f"{sorted(weight_map)[:3]}. Save the teacher with transformers' save_pretrained."
        )
    with safe_open(_local_file(model, weight_map[name]), framework="pt") as weights:
        return weights.get_tensor(name).to(device=device, dtype=dtype).requires_grad_(False)


def _local_file(model: str, name: str) -> str:
    path = cached_file(model, name, _raise_exceptions_for_missing_entries=False)
    if path is None:
        raise ValueError(f"{model} has no {name}: the teacher needs safetensors weights")
    return path
