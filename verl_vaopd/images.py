"""Degraded views of an image: what the teacher sees when its visual advantage is measured (arXiv:2605.21924, Eq. 2)."""

from fractions import Fraction

from PIL import Image

# What an image is interpolated in, where Pillow would otherwise quietly take the nearest neighbour (1, P, PA), average
# angles (HSV) or depend on its version (16 bit). Images with transparency keep it: see _continuous.
_CONTINUOUS_MODE = {"1": "L", "P": "RGB", "PA": "RGBA", "HSV": "RGB"} | {
    f"I;16{order}": "I" for order in ("", "L", "B", "N")
}


def pixelate(image: Image.Image, ratio: float = 0.1) -> Image.Image:
    """The image with its detail removed: shrunk to `ratio` of each side, then blown up again.

    Down by bilinear interpolation (which averages, so that nothing small survives by luck), up by nearest neighbour.
    The size stays, and with it the number of visual tokens.

    Args:
        image: any mode; not changed. Palette and 1-bit images pass through a continuous mode and back.
        ratio: side of the shrunk image as a share of the original's, in (0, 1]; rounded down to whole pixels, at
            least 1.
    Returns: a new image of the same mode and size.
    Raises:
        ValueError: ratio out of range, or an image without pixels.
    """
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio: got {ratio}, expected a number in (0, 1]; the paper's value is 0.1")
    if 0 in image.size:
        raise ValueError(f"image: got size {image.size}, expected at least 1 x 1 pixel; leave empty images out")
    small_size = (_shrunk(image.width, ratio), _shrunk(image.height, ratio))
    small = _continuous(image).resize(small_size, Image.Resampling.BILINEAR)
    return _in_mode(image.mode, small.resize(image.size, Image.Resampling.NEAREST))


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
