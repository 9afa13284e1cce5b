"""Tokenizer, processor and architecture of the tiny Qwen3-VL models, all made from code.

The sizes keep to what verl, vLLM on a CPU and the world need: head_dim 32 (vLLM's CPU attention has no 16), patches of
8 pixels merged 2 x 2 (a visual token covers 16 x 16 pixels), one deepstack level, tied embeddings.
"""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from verl_vaopd.data.tinygeo import questions
from verl_vaopd.data.tinygeo.figures import IMAGE_SIZE, KINDS, MAX_LENGTH, MIN_LENGTH, SHAPES, draw_figure
from verl_vaopd.platform import activate

activate()
from transformers import (  # noqa: E402  (torchvision must find its schemas first)
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

PATCH_SIZE, MERGE_SIZE, TEMPORAL_PATCH_SIZE = 8, 2, 2
GRID = IMAGE_SIZE // PATCH_SIZE
NUM_VISUAL_TOKENS = (GRID // MERGE_SIZE) ** 2
HEAD_DIM, MROPE_SECTION = 32, [8, 4, 4]
MAX_VOCAB_SIZE = 1000
EOS_TOKEN, PAD_TOKEN = "<|im_end|>", "<|endoftext|>"
IMAGE_TOKEN, VIDEO_TOKEN = "<|image_pad|>", "<|video_pad|>"
VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
_NAMES = (
    "endoftext im_start im_end object_ref_start object_ref_end box_start box_end quad_start quad_end vision_start "
    "vision_end vision_pad image_pad video_pad"
)
SPECIAL_TOKENS = [f"<|{name}|>" for name in _NAMES.split()]
# Qwen's pre-tokenizer: words keep their leading space, every digit stands alone.
SPLIT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' }}"
    "{%- if message.content is string %}{{- message.content }}"
    "{%- else %}{%- for part in message.content %}"
    "{%- if part.type == 'image' or 'image' in part or 'image_url' in part %}"
    "{{- '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{%- elif part.type == 'video' or 'video' in part %}{{- '<|vision_start|><|video_pad|><|vision_end|>' }}"
    "{%- elif 'text' in part %}{{- part.text }}{%- endif %}{%- endfor %}{%- endif %}"
    "{{- '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


@dataclass(frozen=True)
class Architecture:
    """Sizes of a tiny Qwen3-VL; the number of attention heads follows from HEAD_DIM."""

    text_hidden: int
    text_layers: int
    text_intermediate: int
    kv_heads: int
    vision_hidden: int
    vision_depth: int
    vision_intermediate: int


TEACHER = Architecture(128, 4, 384, 2, 128, 4, 256)
STUDENT = Architecture(96, 3, 288, 3, 96, 3, 192)


def corpus(num_figures: int = 600) -> list[str]:
    """Text the tokenizer is trained on: prompts and responses of random figures, every wording included."""
    rng, texts = random.Random(0), ["system\nuser\nassistant\n"] * 200
    for _ in range(num_figures):
        kind = rng.choice(KINDS)
        figure = draw_figure(rng, kind, tuple(rng.sample(range(MIN_LENGTH, MAX_LENGTH + 1), SHAPES[kind].num_sides)))
        for _ in questions.QUESTION_TYPES:
            question = questions.ask_any(rng, figure)
            texts.append(questions.prompt_text_with_lengths(rng, figure, question))
            texts.append(questions.respond(rng, figure, question).text)
        texts += [questions.READ_PROMPT, questions.read_response(rng, figure)]
    return texts


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE in Qwen's manner: single digits, whole words, Qwen's special tokens; the same on every call."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=False))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=MAX_VOCAB_SIZE - len(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[],
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=EOS_TOKEN,
        pad_token=PAD_TOKEN,
        additional_special_tokens=SPECIAL_TOKENS,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def build_processor(tokenizer: PreTrainedTokenizerFast) -> Qwen3VLProcessor:
    """The processor of both models: no resizing for tinygeo's images, pixels scaled to [-1, 1]."""
    sizes = {"patch_size": PATCH_SIZE, "merge_size": MERGE_SIZE, "temporal_patch_size": TEMPORAL_PATCH_SIZE}
    image_processor = Qwen2VLImageProcessor(
        **sizes,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        size={"shortest_edge": 32 * 32, "longest_edge": 128 * 128},  # pixels in all, not per side
    )
    return Qwen3VLProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(**sizes),
        chat_template=CHAT_TEMPLATE,
    )


def build_model(tokenizer: Any, architecture: Architecture, seed: int) -> Qwen3VLForConditionalGeneration:
    """A randomly initialised float32 model."""
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    text_config = {
        "vocab_size": len(tokenizer),
        "hidden_size": architecture.text_hidden,
        "intermediate_size": architecture.text_intermediate,
        "num_hidden_layers": architecture.text_layers,
        "num_attention_heads": architecture.text_hidden // HEAD_DIM,
        "num_key_value_heads": architecture.kv_heads,
        "head_dim": HEAD_DIM,
        "max_position_embeddings": 1024,
        "rope_theta": 1e4,
        "rope_scaling": {"rope_type": "default", "mrope_section": MROPE_SECTION, "mrope_interleaved": True},
        "tie_word_embeddings": True,
        "bos_token_id": ids[PAD_TOKEN],
        "eos_token_id": ids[EOS_TOKEN],
        "pad_token_id": ids[PAD_TOKEN],
        "rms_norm_eps": 1e-6,
        "initializer_range": 0.04,
    }
    vision_config = {
        "depth": architecture.vision_depth,
        "hidden_size": architecture.vision_hidden,
        "intermediate_size": architecture.vision_intermediate,
        "num_heads": architecture.vision_hidden // HEAD_DIM,
        "patch_size": PATCH_SIZE,
        "spatial_merge_size": MERGE_SIZE,
        "temporal_patch_size": TEMPORAL_PATCH_SIZE,
        "out_hidden_size": architecture.text_hidden,
        "num_position_embeddings": GRID * GRID,
        "deepstack_visual_indexes": [1],
        "in_channels": 3,
        "initializer_range": 0.04,
    }
    config = Qwen3VLConfig(
        text_config=text_config,
        vision_config=vision_config,
        image_token_id=ids[IMAGE_TOKEN],
        video_token_id=ids[VIDEO_TOKEN],
        vision_start_token_id=ids[VISION_START],
        vision_end_token_id=ids[VISION_END],
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(config).float()
    model.generation_config.eos_token_id = [ids[EOS_TOKEN], ids[PAD_TOKEN]]
    model.generation_config.pad_token_id = ids[PAD_TOKEN]
    return model


def save_model(model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor, out_dir: Path) -> None:
    """bf16 safetensors with configuration, tokenizer and processor files; the model itself is left as it is."""
    dtype = model.dtype
    model.to(torch.bfloat16).save_pretrained(out_dir, safe_serialization=True)
    model.to(dtype)
    processor.save_pretrained(out_dir)
    for path in out_dir.iterdir():
        path.chmod(0o644)  # safetensors writes files that only their owner may read


def load_model(path: Path) -> Qwen3VLForConditionalGeneration:
    """A saved model in float32, in evaluation mode."""
    return Qwen3VLForConditionalGeneration.from_pretrained(path, dtype=torch.float32).eval()


def load_tokenizer(path: Path) -> PreTrainedTokenizerFast:
    """The tokenizer saved beside a model."""
    return PreTrainedTokenizerFast.from_pretrained(path)
