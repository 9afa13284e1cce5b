"""Prompt lengths predicted from image sizes equal what the loader and the processor make."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from verl_vaopd.data.rows import Row, RowError
from verl_vaopd.image_sizes import DO_NOT_RESIZE, ImageSizes
from verl_vaopd.platform import activate
from verl_vaopd.rollout.prompt_lengths import Limits, PromptMeasure

PRIVILEGE = {"reference": "extra_info.response", "template": " Answer: {reference}."}


@pytest.fixture(scope="module")
def processor():
    activate()
    from verl_vaopd.data.tinygeo import models

    return models.build_processor(models.build_tokenizer())


def row(text: str, *sizes: tuple[int, int], **extra_info: object) -> Row:
    images = []
    for size in sizes:
        buffer = io.BytesIO()
        Image.new("RGB", size, "white").save(buffer, "PNG")
        images.append(buffer.getvalue())
    parts = [*({"type": "image", "image": image} for image in images), {"type": "text", "text": text}]
    message = {"role": "user", "content": parts if images else text}
    return Row("0", [message], tuple(images), "exact_match", "7", text, extra_info)


def measure(processor, limit: int = 10_000, **options: object) -> PromptMeasure:
    given = {"privilege": None, "pixels": (None, None), "template": {}, "max_privileged_length": 10_000, **options}
    return PromptMeasure(Limits("unused", limit, **given), processor)


@pytest.mark.parametrize("pixels", [(None, None), (65_536, None), (None, 9_216), (4_096, None), (9_216, 9_216)])
@pytest.mark.parametrize("sizes", [[(96, 96)], [(200, 64)], [(31, 500)], [(96, 96), (640, 480)], [(1, 1)], []])
def test_length_is_that_of_the_processed_prompt(processor, sizes: list[tuple[int, int]], pixels) -> None:
    from verl_vaopd.rollout.dataset import images_of

    asked = row("What is the perimeter?", *sizes)
    images = images_of(asked.messages, ImageSizes.of(processor.image_processor, *pixels))
    text = processor.apply_chat_template(asked.messages, add_generation_prompt=True, tokenize=False)
    expected = len(processor(text=[text], images=images or None, **DO_NOT_RESIZE)["input_ids"][0])
    assert measure(processor, pixels=pixels).length(asked, sizes) == expected


def test_a_prompt_that_is_too_long(processor) -> None:
    short, long = row("Short?", (96, 96)), row("Long? " * 50, (96, 96))
    length = measure(processor).length(short, [(96, 96)])
    measure(processor, length)(short, [(96, 96)])
    with pytest.raises(RowError, match=rf"too long: got \d+ tokens, images included, .*length={length}; raise it"):
        measure(processor, length)(long, [(96, 96)])


@pytest.mark.slow
def test_a_prompt_of_20_mb_is_counted_and_not_shown(processor) -> None:
    with pytest.raises(RowError, match=r"too long: got 8\d{6} tokens") as refused:
        measure(processor, 1024)(row("word " * 4_000_000), [])
    assert len(str(refused.value)) < 1000


def test_a_placeholder_of_the_model_in_the_text(processor) -> None:
    with pytest.raises(RowError, match=r"1 in the chat template's text for 0 images"):
        measure(processor)(row("What is <|image_pad|>?"), [])


def test_messages_that_the_chat_template_refuses(processor, monkeypatch) -> None:
    monkeypatch.setattr(processor, "chat_template", "{{ raise_exception('no such role') }}")
    with pytest.raises(RowError, match="refused by the chat template: got no such role"):
        measure(processor)(row("Why?"), [])


def test_limits_of_pixels_that_leave_no_size(processor) -> None:
    with pytest.raises(RowError, match="no size is left"):
        measure(processor, pixels=(None, 4_096))(row("Why?", (1_900, 10)), [(1_900, 10)])


def test_a_reference_solution_is_there_and_has_room(processor) -> None:
    asked = row("Why?", response="It is so")
    needed = measure(processor, privilege=PRIVILEGE).length(asked, []) + len(
        processor.tokenizer.encode(" Answer: It is so.", add_special_tokens=False)
    )
    measure(processor, privilege=PRIVILEGE, max_privileged_length=needed)(asked, [])
    with pytest.raises(RowError, match="too long a reference solution"):
        measure(processor, privilege=PRIVILEGE, max_privileged_length=needed - 1)(asked, [])
    with pytest.raises(RowError, match=r"extra_info.response: no reference solution: got nothing \(null\)"):
        measure(processor, privilege=PRIVILEGE)(row("Why?"), [])
