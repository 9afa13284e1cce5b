"""The one resizing: within the limits, by whole visual tokens, and what the processors are left to do afterwards."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from verl_vaopd.image_sizes import DO_NOT_RESIZE, ImageSizes
from verl_vaopd.platform import activate

activate()  # qwen_vl_utils imports torchvision

OWN = SimpleNamespace(patch_size=16, merge_size=2, size={"shortest_edge": 65_536, "longest_edge": 16_777_216})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((None, None), (65_536, 16_777_216)),
        ((262_144, 4_194_304), (262_144, 4_194_304)),
        ((20_000_000, None), (20_000_000, 20_000_000)),  # beyond the model's own: what is asked for holds
        ((None, 50_000), (50_000, 50_000)),
    ],
)
def test_a_limit_that_is_not_given_is_the_models(given: tuple, expected: tuple[int, int]) -> None:
    assert ImageSizes.of(OWN, *given) == ImageSizes(32, *expected)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(width=st.integers(20, 3_000), height=st.integers(20, 3_000))
def test_sizes_are_whole_visual_tokens_within_the_limits(width: int, height: int) -> None:
    sizes = ImageSizes(32, 262_144, 4_194_304)
    w, h = sizes.fit(width, height)
    assert w % 32 == h % 32 == 0 and 262_144 <= w * h <= 4_194_304
    assert sizes.num_tokens(width, height) == w * h // 1024


def test_an_image_of_the_right_size_is_left_alone() -> None:
    image = Image.new("RGB", (640, 448))
    assert ImageSizes(32, 262_144, 4_194_304).resize(image) is image


def test_the_processor_would_resize_once_more() -> None:
    """Limits so near to each other that multiples of 32 leave them: enlarged, then reduced again."""
    from transformers import Qwen2VLImageProcessor

    processor = Qwen2VLImageProcessor(patch_size=16, merge_size=2, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    noise = np.random.default_rng(0).integers(0, 256, (250, 300, 3), dtype=np.uint8)
    image = ImageSizes.of(processor, 262_144, 262_144).resize(Image.fromarray(noise))
    once, twice = (
        processor(images=[image], return_tensors="pt", **options)
        for options in (DO_NOT_RESIZE, {"min_pixels": 262_144, "max_pixels": 262_144})
    )
    assert once["image_grid_thw"].tolist() == [[1, image.height // 16, image.width // 16]]
    assert twice["image_grid_thw"].tolist() != once["image_grid_thw"].tolist()
    # Each value is a pixel's: (value / 255 - 0.5) / 0.5.
    pixels = np.asarray(image, dtype=np.float32) / 127.5 - 1
    first = once["pixel_values"][0].reshape(3, 2, 16, 16)
    assert np.allclose(first[:, 0], pixels[:16, :16].transpose(2, 0, 1), atol=1e-6)
    assert (first[:, 0] == first[:, 1]).all()


def test_a_processor_of_another_family() -> None:
    other = SimpleNamespace(patch_size=14, size={"height": 336, "width": 336})
    with pytest.raises(ValueError, match=r"no limits of pixels; expected that of Qwen2-VL.*endpoint="):
        ImageSizes.of(other, None, None)
