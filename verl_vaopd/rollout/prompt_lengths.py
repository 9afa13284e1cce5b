"""Overlong prompts are an error before training starts: they are neither cut through image tokens nor dropped.

verl's agent loop refuses a multimodal prompt that is too long, which would lose the prompt in the middle of a run. Here
every prompt is measured first. No pixel is touched: how many tokens an image becomes follows from its size.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig
from PIL import Image
from qwen_vl_utils.vision_process import smart_resize
from verl.utils.dataset.rl_dataset import RLHFDataset

from verl_vaopd.data.stored import stored_responses

IMAGE_MARK = "<image>"


def require_prompts_fit(datasets: Sequence[RLHFDataset]) -> None:
    """Check that every prompt has at most `data.max_prompt_length` tokens, images included.

    Raises:
        ValueError: naming the files, how many of their prompts are too long, and the longest.
    """
    problems = []
    for dataset in datasets:
        lengths = [prompt_length(dataset, row) for row in dataset.dataframe]
        num_long = sum(length > dataset.max_prompt_length for length in lengths)
        if num_long:
            problems.append(
                f"{dataset.original_data_files[0]}: {num_long} of {len(lengths)}, the longest has {max(lengths)}"
            )
    if problems:
        raise ValueError(
            f"prompts of more than data.max_prompt_length={datasets[0].max_prompt_length} tokens in "
            f"{'; '.join(problems)}. Prepare the data set with fewer image pixels (dataset.max_pixels), or raise "
            "data.max_prompt_length."
        )


def prompt_length(dataset: RLHFDataset, row: Mapping[str, Any]) -> int:
    """Tokens of one prompt as the agent loop builds it: chat template, text, and every image's visual tokens."""
    processor = dataset.processor
    messages = [{"role": message["role"], "content": _parts(message["content"])} for message in row[dataset.prompt_key]]
    text = processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=False, **dataset.apply_chat_template_kwargs
    )
    images = row.get(dataset.image_key) or []
    # The rendered text holds one placeholder token per image.
    return len(processor.tokenizer(text, add_special_tokens=False)["input_ids"]) + sum(
        _visual_tokens(processor.image_processor, image) - 1 for image in images
    )


def _parts(content: str) -> list[dict[str, str]]:
    texts = content.split(IMAGE_MARK)
    parts: list[dict[str, str]] = []
    for number, text in enumerate(texts):
        parts += [{"type": "image"}] if number else []
        parts += [{"type": "text", "text": text}] if text else []
    return parts


def _visual_tokens(image_processor: Any, image: Any) -> int:
    if isinstance(image, Mapping):
        image = Image.open(io.BytesIO(image["bytes"]) if image.get("bytes") else image["path"])
    merge = image_processor.merge_size
    # The agent loop's loader (qwen_vl_utils) resizes first, then the image processor does.
    height, width = smart_resize(image.height, image.width, factor=image_processor.patch_size * merge)
    return image_processor.get_number_of_image_patches(height, width, {}) // merge**2


def require_responses_fit(config: DictConfig) -> None:
    """Check that every stored response has at most `data.max_response_length` tokens; they are never cut.

    Raises:
        ValueError: naming the longest; or what was collected with other settings than this job's.
    """
    stored = stored_responses(config.collect.path)
    stored.require_made_with(config)
    longest, limit = stored.max_length(), config.data.max_response_length
    if longest > limit:
        raise ValueError(
            f"{config.collect.path}: a stored response has {longest} tokens, expected at most "
            f"data.max_response_length={limit}; raise it, or collect with this limit into another collect.path"
        )
