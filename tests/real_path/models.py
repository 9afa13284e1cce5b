"""A student and a teacher of Qwen3-VL's real shape but small width, with random weights and the real tokenizer.

What a prompt, an image and a head look like to the system is that of the published models: vocabulary and its padding,
ids of the special tokens, patches, limits of pixels, head_dim and sections of the rotary positions, three levels of
DeepStack, and for the student (2B) a tied, for the teacher (8B) a head of its own. Width and depth are not.

    python -m tests.real_path.models --tokenizer FILE --out DIR
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from verl_vaopd.data.tinygeo.models import CHAT_TEMPLATE
from verl_vaopd.platform import activate

activate()
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration  # noqa: E402
from transformers.utils import logging  # noqa: E402

NUM_TOKENS, NUM_HEAD_ROWS = 151_669, 151_936
END_OF_TEXT, END_OF_MESSAGE = 151_643, 151_645
VISION_START, VISION_END, IMAGE, VIDEO = 151_652, 151_653, 151_655, 151_656
TOKENIZER = {
    "tokenizer_class": "Qwen2Tokenizer",
    "eos_token": "<|im_end|>",
    "pad_token": "<|endoftext|>",
    "bos_token": None,
    "unk_token": None,
    "model_max_length": 262_144,
    "clean_up_tokenization_spaces": False,
}
PATCHES = {"patch_size": 16, "temporal_patch_size": 2, "merge_size": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
IMAGE_PROCESSOR = {
    **PATCHES,
    "size": {"shortest_edge": 65_536, "longest_edge": 16_777_216},
    "image_processor_type": "Qwen2VLImageProcessorFast",
    "processor_class": "Qwen3VLProcessor",
}
VIDEO_PROCESSOR = {
    **PATCHES,
    "size": {"shortest_edge": 4_096, "longest_edge": 25_165_824},
    "video_processor_type": "Qwen3VLVideoProcessor",
    "processor_class": "Qwen3VLProcessor",
}


@dataclass(frozen=True)
class Width:
    """What is smaller than in the published models; head sizes and the number of DeepStack levels are theirs."""

    hidden: int
    layers: int
    vision_head_dim: int
    vision_depth: int
    deepstack: tuple[int, int, int]
    tied: bool
    seed: int
    end: float
    """Factor of the head's row of the end token: so that some of the student's responses end, and not at once."""


MODELS = {
    "student": Width(128, 3, 64, 4, (0, 1, 2), tied=True, seed=1, end=-12.0),
    "teacher": Width(192, 4, 72, 5, (0, 2, 4), tied=False, seed=2, end=1.0),
}


def configuration(width: Width) -> Qwen3VLConfig:
    """Qwen3-VL's, with this width."""
    text = {
        "vocab_size": NUM_HEAD_ROWS,
        "hidden_size": width.hidden,
        "intermediate_size": 3 * width.hidden,
        "num_hidden_layers": width.layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 128,
        "max_position_embeddings": 262_144,
        "rope_theta": 5e6,
        "rope_scaling": {"rope_type": "default", "mrope_section": [24, 20, 20], "mrope_interleaved": True},
        "tie_word_embeddings": width.tied,
        "bos_token_id": END_OF_TEXT,
        "eos_token_id": END_OF_MESSAGE,
        "rms_norm_eps": 1e-6,
        "initializer_range": 0.1,
    }
    vision = {
        "depth": width.vision_depth,
        "hidden_size": 2 * width.vision_head_dim,
        "intermediate_size": 4 * width.vision_head_dim,
        "num_heads": 2,
        "patch_size": PATCHES["patch_size"],
        "temporal_patch_size": PATCHES["temporal_patch_size"],
        "spatial_merge_size": PATCHES["merge_size"],
        "out_hidden_size": width.hidden,
        "num_position_embeddings": 2_304,
        "deepstack_visual_indexes": list(width.deepstack),
        "initializer_range": 0.1,
    }
    return Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        vision_start_token_id=VISION_START,
        vision_end_token_id=VISION_END,
        tie_word_embeddings=width.tied,
    )


def make(width: Width, tokenizer: Path, out: Path) -> None:
    """Write one model: float32 weights, and tokenizer and processors in the files of the published models."""
    torch.manual_seed(width.seed)
    model = Qwen3VLForConditionalGeneration(configuration(width)).float()
    model.generation_config.eos_token_id = [END_OF_MESSAGE, END_OF_TEXT]
    model.generation_config.pad_token_id = END_OF_TEXT
    with torch.no_grad():
        head = model.get_output_embeddings().weight
        # Rows without a token and placeholders without an image would be sampled, and rule every distribution, wherever
        # they are not left out.
        head[NUM_TOKENS:] *= 20
        head[[IMAGE, VIDEO]] *= 5
        head[END_OF_MESSAGE] *= width.end
    model.save_pretrained(out)
    shutil.copyfile(tokenizer, out / "tokenizer.json")
    files = {
        "tokenizer_config.json": TOKENIZER,
        "preprocessor_config.json": IMAGE_PROCESSOR,
        "video_preprocessor_config.json": VIDEO_PROCESSOR,
    }
    for name, content in files.items():
        (out / name).write_text(json.dumps(content, indent=2))
    (out / "chat_template.jinja").write_text(CHAT_TEMPLATE)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--tokenizer", type=Path, required=True, metavar="FILE", help="tokenizer.json of Qwen3")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets student/ and teacher/")
    options = parser.parse_args()
    logging.disable_progress_bar()
    for name, width in MODELS.items():
        make(width, options.tokenizer, options.out / name)
        print(f"{name}  {options.out / name}")


if __name__ == "__main__":
    main()
