"""Prompts whose text says where its images belong."""

import re
from collections.abc import Sequence

from verl_vaopd.evaluation.benchmark import ImagePart
from verl_vaopd.evaluation.formats.images import NoImage

_NUMBERED = re.compile(r"<image (\d+)>")
_MARK = "<image>"


def at_numbers(text: str, images: Sequence[ImagePart]) -> tuple[str | ImagePart, ...]:
    """The parts of a text with marks `<image 1>`, `<image 2>`, ...; images without a mark come first.

    Raises:
        ValueError: a mark without an image.
    """
    pieces = _NUMBERED.split(text)
    numbers = [int(number) for number in pieces[1::2]]
    images = _for_every_mark(images, max(numbers, default=0))
    missing = sorted({number for number in numbers if not 1 <= number <= len(images)})
    if missing:
        raise ValueError(f"<image {missing[0]}>: got {len(images)} images, expected one for every mark")
    parts: list[str | ImagePart] = [image for n, image in enumerate(images, 1) if n not in numbers]
    for piece, number in zip(pieces[::2], [*numbers, 0], strict=True):
        parts += [piece, images[number - 1]] if number else [piece]
    return tuple(part for part in parts if part != "")


def at_marks(text: str, images: Sequence[ImagePart]) -> tuple[str | ImagePart, ...]:
    """The parts of a text with one mark `<image>` per image; without any mark the images come first.

    Raises:
        ValueError: another number of marks than of images.
    """
    pieces = text.split(_MARK)
    if len(pieces) == 1:
        return (*images, text)
    images = _for_every_mark(images, len(pieces) - 1)
    if len(pieces) != len(images) + 1:
        raise ValueError(f"{_MARK}: got {len(pieces) - 1} marks and {len(images)} images, expected as many of each")
    parts: list[str | ImagePart] = [pieces[0]]
    for image, piece in zip(images, pieces[1:], strict=True):
        parts += [image, piece]
    return tuple(part for part in parts if part != "")


def _for_every_mark(images: Sequence[ImagePart], num_marks: int) -> Sequence[ImagePart]:
    """The images; in a file that has none, what stands for them, wherever one belongs."""
    has_none = len(images) == 1 and isinstance(images[0].raw, NoImage)
    return [images[0]] * num_marks if has_none and num_marks else images
