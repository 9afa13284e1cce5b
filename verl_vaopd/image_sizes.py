"""How large a model reads an image: the one resizing of rollouts, training, collected responses and evaluation.

The image processors of student, teacher and vLLM, which come after it, are told to leave sizes alone (DO_NOT_RESIZE):
each would resize once more, with limits of its own and another interpolation. Sizes are those of Qwen's qwen_vl_utils,
which is imported where an image is resized, as transformers is where a model is asked.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from PIL import Image

DO_NOT_RESIZE = {"do_resize": False}
"""Argument of an image processor that is given resized images."""


@dataclass(frozen=True)
class ImageSizes:
    """Which sizes a model reads, in pixels.

    Attributes:
        factor: sides are multiples of it: a visual token covers factor x factor pixels.
        min_pixels, max_pixels: of the whole image. It keeps its shape as far as multiples of `factor` allow.
    """

    factor: int
    min_pixels: int
    max_pixels: int

    @classmethod
    @functools.cache
    def of_model(cls, model: str, min_pixels: int | None, max_pixels: int | None) -> ImageSizes:
        """As `of`, by a Hugging Face directory or id."""
        from transformers import AutoImageProcessor

        return cls.of(AutoImageProcessor.from_pretrained(model), min_pixels, max_pixels)

    @classmethod
    def of(cls, image_processor: Any, min_pixels: int | None, max_pixels: int | None) -> ImageSizes:
        """Those of a model.

        Args:
            image_processor: transformers', of the family of Qwen2-VL to Qwen3-VL.
            min_pixels, max_pixels: None: the image processor's own, or the other limit where the two contradict.
        Raises:
            ValueError: it is of another family.
        """
        own = image_processor.size
        if not (hasattr(image_processor, "merge_size") and "shortest_edge" in own and "longest_edge" in own):
            raise ValueError(
                f"image processor: got {type(image_processor).__name__}, whose images have no limits of pixels; "
                "expected that of Qwen2-VL, Qwen2.5-VL or Qwen3-VL; choose a model of these families (`vaopd eval` "
                "asks any other at an endpoint=)"
            )
        least = min_pixels if min_pixels is not None else min(own["shortest_edge"], max_pixels or own["shortest_edge"])
        most = max_pixels if max_pixels is not None else max(own["longest_edge"], least)
        return cls(image_processor.patch_size * image_processor.merge_size, least, most)

    def fit(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) at which an image of this size is read; a side is 0 where max_pixels leaves none."""
        from qwen_vl_utils.vision_process import smart_resize

        height, width = smart_resize(
            height, width, factor=self.factor, min_pixels=self.min_pixels, max_pixels=self.max_pixels
        )
        return width, height

    def num_tokens(self, width: int, height: int) -> int:
        """Visual tokens of an image of this size, before it is resized."""
        width, height = self.fit(width, height)
        return (width // self.factor) * (height // self.factor)

    def resize(self, image: Image.Image) -> Image.Image:
        """The image at the size at which it is read; itself where it has that size. RGB as load_image gives it."""
        size = self.fit(*image.size)
        return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)
