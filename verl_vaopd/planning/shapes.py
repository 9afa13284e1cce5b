"""Models by the numbers of their config.json: how many parameters, and where.

The parts are those of Qwen3-VL as transformers builds it: a vision tower with a merger and one more merger for each
DeepStack level, a language model with grouped-query attention and norms of queries and keys, and an LM head that may
be the input embedding.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODEL_TYPE = "qwen3_vl"


@dataclass(frozen=True)
class Text:
    """The language model."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool
    """Whether the LM head is the input embedding."""
    attention_bias: bool = False

    @property
    def head(self) -> int:
        """Parameters of the LM head, and of the input embedding."""
        return self.vocab * self.hidden

    @property
    def layer(self) -> int:
        """Parameters of one layer: four projections of attention, three of the MLP, four norms."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        projections = 2 * self.hidden * (queries + keys) + 3 * self.hidden * self.intermediate
        biases = queries + 2 * keys + self.hidden if self.attention_bias else 0
        return projections + biases + 2 * self.head_dim + 2 * self.hidden

    @property
    def parameters(self) -> int:
        """Of embedding, layers, last norm and head; a tied head counts once."""
        return self.head * (1 if self.tied else 2) + self.layers * self.layer + self.hidden

    def cache_bytes(self, width: int) -> int:
        """Bytes of a token's keys and values, of numbers of `width` bytes."""
        return 2 * self.layers * self.kv_heads * self.head_dim * width


@dataclass(frozen=True)
class Vision:
    """The vision tower."""

    hidden: int
    intermediate: int
    depth: int
    out_hidden: int
    num_deepstack: int
    patch_size: int = 16
    temporal_patch_size: int = 2
    channels: int = 3
    positions: int = 2304
    merge: int = 2
    """Side of the square of patches that become one visual token."""

    @property
    def patch_values(self) -> int:
        """Numbers of one patch as the image processor gives it."""
        return self.channels * self.temporal_patch_size * self.patch_size**2

    @property
    def patches_per_token(self) -> int:
        """Patches that become one visual token."""
        return self.merge**2

    @property
    def pixels_per_token(self) -> int:
        """Pixels of the image that become one visual token."""
        return (self.patch_size * self.merge) ** 2

    @property
    def block(self) -> int:
        """Parameters of one block: attention, MLP and two norms, all with biases."""
        attention = 4 * self.hidden**2 + 4 * self.hidden
        mlp = 2 * self.hidden * self.intermediate + self.intermediate + self.hidden
        return attention + mlp + 4 * self.hidden

    @property
    def mergers(self) -> int:
        """Parameters of the merger and of those of DeepStack, which differ in the size of their norm."""
        wide = self.hidden * self.patches_per_token
        one = wide**2 + wide + wide * self.out_hidden + self.out_hidden
        return (1 + self.num_deepstack) * one + 2 * self.hidden + 2 * wide * self.num_deepstack

    @property
    def parameters(self) -> int:
        """Of patch embedding, positions, blocks and mergers."""
        embedding = self.patch_values * self.hidden + self.hidden + self.positions * self.hidden
        return embedding + self.depth * self.block + self.mergers


@dataclass(frozen=True)
class Shape:
    """A vision-language model. Parameters and FLOP follow from it, no weight is read."""

    text: Text
    vision: Vision

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.text.parameters + self.vision.parameters


# The config.json of the four models on the Hugging Face hub (Qwen, October 2025), for machines that have neither the
# models nor a way to the hub. tests/planning compares the counts with the totals that the hub shows of the weights.
_SMALL_TOWER = {"hidden": 1024, "intermediate": 4096, "depth": 24, "num_deepstack": 3}
_LARGE_TOWER = {"hidden": 1152, "intermediate": 4304, "depth": 27, "num_deepstack": 3}


def _text(hidden: int, intermediate: int, layers: int, heads: int, tied: bool) -> Text:
    return Text(hidden, intermediate, layers, heads, kv_heads=8, head_dim=128, vocab=151_936, tied=tied)


PUBLISHED = {
    "Qwen/Qwen3-VL-2B-Instruct": Shape(
        _text(hidden=2048, intermediate=6144, layers=28, heads=16, tied=True),
        Vision(out_hidden=2048, **_SMALL_TOWER),
    ),
    "Qwen/Qwen3-VL-4B-Instruct": Shape(
        _text(hidden=2560, intermediate=9728, layers=36, heads=32, tied=True),
        Vision(out_hidden=2560, **_SMALL_TOWER),
    ),
    "Qwen/Qwen3-VL-8B-Instruct": Shape(
        _text(hidden=4096, intermediate=12288, layers=36, heads=32, tied=False),
        Vision(out_hidden=4096, **_LARGE_TOWER),
    ),
    "Qwen/Qwen3-VL-32B-Instruct": Shape(
        _text(hidden=5120, intermediate=25600, layers=64, heads=64, tied=False),
        Vision(out_hidden=5120, **_LARGE_TOWER),
    ),
}


def shape_of(model: str) -> Shape:
    """The shape of a local directory, of a hub id in the cache, or of one of PUBLISHED.

    Raises:
        ValueError: none of the three, or another architecture.
    """
    file = _config_file(model)
    if file is None and model in PUBLISHED:
        return PUBLISHED[model]
    if file is None:
        raise ValueError(
            f"the shape of {model} is not known: got no directory with config.json and no copy in the Hugging Face "
            f"cache; expected one of them, or {', '.join(PUBLISHED)}; `hf download {model} config.json` gets it"
        )
    return shape_from(json.loads(file.read_text(encoding="utf-8")), file)


def shape_from(config: dict[str, Any], file: Path) -> Shape:
    """The shape in the content of config.json. Raises ValueError for another architecture than Qwen3-VL."""
    if config.get("model_type") != MODEL_TYPE:
        raise ValueError(
            f"{file}: got model_type {config.get('model_type')!r}, expected {MODEL_TYPE!r}: memory is predicted for "
            "this architecture alone"
        )
    text, vision = config["text_config"], config["vision_config"]
    return Shape(
        Text(
            hidden=text["hidden_size"],
            intermediate=text["intermediate_size"],
            layers=text["num_hidden_layers"],
            heads=text["num_attention_heads"],
            kv_heads=text["num_key_value_heads"],
            head_dim=text["head_dim"],
            vocab=text["vocab_size"],
            tied=config.get("tie_word_embeddings", False),
            attention_bias=text.get("attention_bias", False),
        ),
        Vision(
            hidden=vision["hidden_size"],
            intermediate=vision["intermediate_size"],
            depth=vision["depth"],
            out_hidden=vision["out_hidden_size"],
            num_deepstack=len(vision["deepstack_visual_indexes"]),
            patch_size=vision["patch_size"],
            temporal_patch_size=vision["temporal_patch_size"],
            channels=vision["in_channels"],
            positions=vision["num_position_embeddings"],
            merge=vision["spatial_merge_size"],
        ),
    )


def _config_file(model: str) -> Path | None:
    file = Path(model).expanduser() / "config.json"
    if file.is_file():
        return file
    from huggingface_hub import try_to_load_from_cache  # imported for hub ids alone

    with contextlib.suppress(ValueError):  # no hub id
        if isinstance(cached := try_to_load_from_cache(model, "config.json"), str):
            return Path(cached)
    return None
