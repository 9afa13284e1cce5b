"""Degraded views of an image: what is left of an answer when its image says less.

The teacher sees one when its visual advantage is measured (arXiv:2605.21924, Eq. 2), the policy when PAPO asks whether
it looks at the image (arXiv:2507.06448). All kinds keep the size, and with it the number of visual tokens, and the mode
of the image; none changes the image it is given.
"""

import inspect
import random
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

from PIL import Image, ImageFilter

from verl_vaopd.algorithms.options import option, require_values


@dataclass
class Corruption:
    """A corrupted view of the images; each option belongs to the kinds that name it."""

    kind: str = option("pixelate", "One of the kinds of images.py.", choices=lambda: tuple(DEGRADATIONS))
    ratio: float = option(
        0.1, "pixelate: each side shrinks to this share before it is enlarged again (Sec. 2.1).", above=0, at_most=1
    )
    radius: float = option(
        0.02, "blur: standard deviation of the Gaussian as a share of the longer side.", above=0, at_most=1
    )
    block: int = option(14, "patch_mask, shuffle_patches: side of a block in pixels.", unit="pixel", at_least=1)
    mask_prob: float = option(0.6, "patch_mask: probability that a block is blackened.", at_least=0, at_most=1)


# What an image is interpolated in, where Pillow would otherwise quietly take the nearest neighbour (1, P, PA), average
# angles (HSV) or depend on its version (16 bit). Images with transparency keep it: see _continuous.
_CONTINUOUS_MODE = {"1": "L", "P": "RGB", "PA": "RGBA", "HSV": "RGB"} | {
    f"I;16{order}": "I" for order in ("", "L", "B", "N")
}
_PREMULTIPLIED_MODE = {"RGBA": "RGBa", "LA": "La"}


def degrade(image: Image.Image, kind: str, seed: int = 0, **options: float | Image.Image) -> Image.Image:
    """The image as one kind of degradation leaves it.

    Args:
        image: any mode; not changed.
        kind: a key of DEGRADATIONS.
        seed: of the kinds that draw at random; the same seed, image and options give the same view.
        options: of that kind, see degradation_options; `other_image` also needs `other`, the image to show instead.
    Returns: a new image of the same mode and size.
    Raises:
        ValueError: unknown kind, an option that the kind does not take or that is out of range, an image without
            pixels.
    """
    unknown = options.keys() - _parameters(kind)
    if unknown:
        raise ValueError(
            f"{kind}: got {', '.join(sorted(unknown))}, expected no other options than "
            f"{', '.join(sorted(_parameters(kind))) or 'none at all'}; leave it out or choose another kind"
        )
    return DEGRADATIONS[kind](image, seed=seed, **options)


def degradation_options(kind: str) -> frozenset[str]:
    """Names of the numbers that a kind of DEGRADATIONS takes; ValueError if there is no such kind."""
    return _parameters(kind) - {"other"}


def _parameters(kind: str) -> frozenset[str]:
    if kind not in DEGRADATIONS:
        raise ValueError(f"kind: got {kind!r}, expected one of {', '.join(DEGRADATIONS)}; name one of them")
    return frozenset(inspect.signature(DEGRADATIONS[kind]).parameters) - {"image", "seed"}


def pixelate(image: Image.Image, ratio: float = Corruption.ratio, *, seed: int = 0) -> Image.Image:
    """The image with its detail removed: shrunk to `ratio` of each side, then blown up again.

    Down by bilinear interpolation (which averages, so that nothing small survives by luck), up by nearest neighbour.
    The size stays, and with it the number of visual tokens.

    Args:
        image: any mode; not changed. Palette and 1-bit images pass through a continuous mode and back.
        ratio: side of the shrunk image as a share of the original's, in (0, 1]; rounded down to whole pixels, at
            least 1.
        seed: not used, like in every kind that leaves nothing to chance.
    Returns: a new image of the same mode and size.
    Raises:
        ValueError: ratio out of range, or an image without pixels.
    """
    require_values(Corruption, ratio=ratio)
    _require_pixels(image)
    small_size = (_shrunk(image.width, ratio), _shrunk(image.height, ratio))
    small = _continuous(image).resize(small_size, Image.Resampling.BILINEAR)
    return _in_mode(image.mode, small.resize(image.size, Image.Resampling.NEAREST))


def blank(image: Image.Image, *, seed: int = 0) -> Image.Image:
    """The image's mean colour everywhere (arguments as in degrade); to within rounding, which is done twice."""
    _require_pixels(image)
    mean = _continuous(image).resize((1, 1), Image.Resampling.BOX)
    return _in_mode(image.mode, mean.resize(image.size, Image.Resampling.NEAREST))


def blur(image: Image.Image, radius: float = Corruption.radius, *, seed: int = 0) -> Image.Image:
    """The image under a Gaussian.

    Args:
        image, seed: as in degrade. Images of more than 8 bits (I, F, I;16) are blurred in 256 steps of their own range.
        radius: standard deviation as a share of the longer side, in (0, 1].
    Returns: a new image of the same mode and size.
    Raises:
        ValueError: radius out of range, or an image without pixels.
    """
    if not 0 < radius <= 1:
        raise ValueError(
            f"radius: got {radius}, expected a share of the longer side in (0, 1], such as {Corruption.radius}"
        )
    _require_pixels(image)
    gaussian = ImageFilter.GaussianBlur(radius * max(image.size))
    view = _continuous(image)
    if view.mode in _PREMULTIPLIED_MODE:
        # So that the hidden colour of transparent pixels does not leak out.
        view = view.convert(_PREMULTIPLIED_MODE[view.mode]).filter(gaussian).convert(view.mode)
    elif view.mode in ("I", "F"):
        view = _filtered_in_8_bits(view, gaussian)
    else:
        view = Image.merge(view.mode, [band.filter(gaussian) for band in view.split()])
    return _in_mode(image.mode, view)


def _filtered_in_8_bits(image: Image.Image, image_filter: ImageFilter.Filter) -> Image.Image:
    low, high = (float(value) for value in cast(tuple[float, float], image.getextrema()))
    step = (high - low) / 255 or 1.0
    # Conversions cut decimals off, hence the halves.
    levels = image.convert("F").point(lambda value: value * (1 / step) + (0.5 - low / step)).convert("L")
    half = 0.5 if image.mode == "I" else 0.0
    return levels.filter(image_filter).convert("F").point(lambda value: value * step + (low + half)).convert(image.mode)


def patch_mask(
    image: Image.Image, block: int = Corruption.block, mask_prob: float = Corruption.mask_prob, *, seed: int = 0
) -> Image.Image:
    """The image with blocks blackened at random, each with the same probability (PAPO).

    Args:
        image, seed: as in degrade. Of a palette image, colours may change a little, to make room for black.
        block: side of a block in pixels, at least 1; blocks at the right and lower edge may be smaller.
        mask_prob: in [0, 1].
    Returns: a new image of the same mode and size.
    Raises:
        ValueError: an option out of range, or an image without pixels.
    """
    if not 0 <= mask_prob <= 1:
        raise ValueError(
            f"mask_prob: got {mask_prob}, expected a number in [0, 1]; PAPO's value is {Corruption.mask_prob}"
        )
    _require_pixels(image)
    side = _block_side(image, block)
    columns, rows = -(-image.width // side), -(-image.height // side)
    draw = random.Random(seed).random
    blocks = Image.frombytes("L", (columns, rows), bytes(255 * (draw() < mask_prob) for _ in range(columns * rows)))
    mask = blocks.resize((columns * side, rows * side), Image.Resampling.NEAREST).crop((0, 0, *image.size))
    # Palettes may have no black, and Pillow 13 pastes wrongly through a mask in 16 bits; HSV would lose by conversion.
    view = (image if image.mode == "HSV" else _continuous(image)).copy()
    view.paste(Image.new("RGB", view.size).convert(view.mode), mask=mask)
    return _in_mode(image.mode, view)


def shuffle_patches(image: Image.Image, block: int = Corruption.block, *, seed: int = 0) -> Image.Image:
    """The image with its blocks in random order: all of its colours and none of its layout.

    Args:
        image, seed: as in degrade.
        block: side of a block in pixels, at least 1. Only whole blocks move; what is left at the right and lower edge
            stays.
    Returns: a new image of the same mode and size.
    Raises:
        ValueError: block out of range, or an image without pixels.
    """
    _require_pixels(image)
    side = _block_side(image, block)
    corners = [
        (left, top)
        for top in range(0, image.height - side + 1, side)
        for left in range(0, image.width - side + 1, side)
    ]
    generator = random.Random(seed)
    # Not generator.shuffle: Python promises the same numbers in later versions for random() alone.
    sources = sorted(corners, key=lambda corner: generator.random())
    view = image.copy()
    for corner, (left, top) in zip(corners, sources, strict=True):
        view.paste(image.crop((left, top, left + side, top + side)), corner)
    return view


def other_image(image: Image.Image, other: Image.Image | None = None, *, seed: int = 0) -> Image.Image:
    """Another prompt's image in the place of this one: as sharp, as rich, and wrong.

    Args:
        image, seed: as in degrade.
        other: any mode; stretched to the size of `image`. Not changed.
    Returns: a new image of the mode and size of `image`.
    Raises:
        ValueError: no `other`, or an image without pixels.
    """
    if not isinstance(other, Image.Image):
        raise ValueError(f"other: got {other!r}, expected an image; pass the image of another prompt as other=")
    _require_pixels(image)
    _require_pixels(other)
    view = _continuous(other).resize(image.size, Image.Resampling.BICUBIC)
    mode = _continuous(image).mode
    if view.mode != mode:
        # By way of RGB, to which and from which Pillow converts every mode.
        view = view.convert("RGBA" if mode in _PREMULTIPLIED_MODE else "RGB").convert(mode)
    return _in_mode(image.mode, view)


DEGRADATIONS: dict[str, Callable[..., Image.Image]] = {
    function.__name__: function for function in (pixelate, blank, blur, patch_mask, shuffle_patches, other_image)
}
"""Every kind of degradation by its name, called with the image, `seed` and its options."""


def _require_pixels(image: Image.Image) -> None:
    if 0 in image.size:
        raise ValueError(f"image: got size {image.size}, expected at least 1 x 1 pixel; leave empty images out")


def _block_side(image: Image.Image, block: int) -> int:
    """The side of a block, checked; no longer than the image, in which a longer one is no different."""
    if not isinstance(block, int) or block < 1:
        raise ValueError(f"block: got {block!r}, expected a whole number of pixels, at least 1")
    return min(block, max(image.size))


def _shrunk(side: int, ratio: float) -> int:
    """floor(ratio * side), at least 1, for the decimal number that was written (0.29 of 100 is 29, not 28)."""
    exact = Fraction(float(ratio)).limit_denominator(10**6)
    return max(1, side * exact.numerator // exact.denominator)


def _continuous(image: Image.Image) -> Image.Image:
    if image.mode == "P" and image.has_transparency_data:
        return image.convert("RGBA")
    mode = _CONTINUOUS_MODE.get(image.mode, image.mode)
    return image if mode == image.mode else image.convert(mode)


def _in_mode(mode: str, image: Image.Image) -> Image.Image:
    """The image in the given mode; without dithering, which would draw a pattern into flat blocks."""
    if image.mode == mode:
        return image
    if mode == "P":
        return image.quantize(256, dither=Image.Dither.NONE)
    return image.convert(mode, dither=Image.Dither.NONE)
