"""A model whose head has rows without a token, as Qwen3-VL's have, and where such an id is always the likeliest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

HEAD = "model.language_model.embed_tokens.weight"


def widen(source: Path, target: Path) -> Path:
    """A copy of a tiny model with a tied head, twice as high; what it samples without these ids is as before.

    The logit of each new row is twice that of a token, and the placeholders' are three times that of the box: wherever
    the likeliest token has a positive logit, an id that must not be sampled is likelier still.
    """
    shutil.copytree(source, target)
    tokenizer = AutoTokenizer.from_pretrained(source)
    config = json.loads((source / "config.json").read_text())
    weights = load_file(source / "model.safetensors")
    head = weights[HEAD].clone()
    for kind in ("image", "video"):
        head[config[f"{kind}_token_id"]] = 3 * head[tokenizer("\\boxed{").input_ids[0]]
    weights[HEAD] = torch.cat([head, 2 * head])
    config["text_config"]["vocab_size"] = len(weights[HEAD])
    (target / "config.json").write_text(json.dumps(config))
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    return target


def require_only_tokens(sampled: Collection[int], model: Path) -> None:
    """Fails if one of the ids has no token or is a placeholder of an image or video."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    placeholders = set(tokenizer.convert_tokens_to_ids(["<|image_pad|>", "<|video_pad|>"]))
    assert len(set(sampled)) > 10
    assert max(sampled) < len(tokenizer) and not set(sampled) & placeholders
