"""Prompt lengths predicted from image sizes equal what the processor makes."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from PIL import Image

from verl_vaopd.platform import activate


@pytest.fixture(scope="module")
def processor():
    activate()
    from verl_vaopd.data.tinygeo import models

    return models.build_processor(models.build_tokenizer())


def _row(text: str, *sizes: tuple[int, int]) -> dict:
    images = []
    for size in sizes:
        buffer = io.BytesIO()
        Image.new("RGB", size, "white").save(buffer, "PNG")
        images.append({"bytes": buffer.getvalue(), "path": None})
    return {"prompt": [{"role": "user", "content": text}], "images": images}


def _dataset(processor, rows: list[dict], limit: int = 10_000) -> SimpleNamespace:
    return SimpleNamespace(
        processor=processor,
        prompt_key="prompt",
        image_key="images",
        apply_chat_template_kwargs={},
        dataframe=rows,
        max_prompt_length=limit,
        original_data_files=["train.parquet"],
    )


@pytest.mark.parametrize("sizes", [[(96, 96)], [(200, 64)], [(31, 500)], [(96, 96), (640, 480)], []])
def test_length_is_that_of_the_processed_prompt(processor, sizes: list[tuple[int, int]]) -> None:
    from qwen_vl_utils import process_vision_info

    from verl_vaopd.rollout.prompt_lengths import prompt_length

    row = _row("<image>" * len(sizes) + "What is the perimeter?", *sizes)
    parts = [{"type": "image", "image": Image.open(io.BytesIO(image["bytes"]))} for image in row["images"]]
    messages = [{"role": "user", "content": [*parts, {"type": "text", "text": "What is the perimeter?"}]}]
    images, _ = process_vision_info(messages, image_patch_size=processor.image_processor.patch_size)
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    expected = len(processor(text=[text], images=images)["input_ids"][0])
    assert prompt_length(_dataset(processor, [row]), row) == expected


def test_overlong_prompts_are_an_error_that_counts_them(processor) -> None:
    from verl_vaopd.rollout.prompt_lengths import prompt_length, require_prompts_fit

    rows = [_row("<image>Short?", (96, 96)), _row("<image>" + "Long? " * 50, (96, 96))]
    dataset = _dataset(processor, rows)
    shorter = prompt_length(dataset, rows[0])
    require_prompts_fit([dataset])
    dataset.max_prompt_length = shorter
    with pytest.raises(ValueError, match=r"max_prompt_length=\d+ tokens in train.parquet: 1 of 2"):
        require_prompts_fit([dataset])
