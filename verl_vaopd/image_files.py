"""Image files as a person sees them: the one loader of training and of evaluation.

Right side up (EXIF), 16 bits scaled to 8, transparency on white, RGB. What has no one picture that everybody sees, such
as an animation, is refused. Colour profiles are not applied.
"""

import io
import math
import struct

import numpy as np
from PIL import ExifTags, Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""Pillow's names of the formats that are read. Not those that a program draws (EPS, PDF, SVG)."""
MAX_PIXELS = 100_000_000
"""Of one image: 300 MB when decoded. What claims more is a mistake, or made to exhaust the memory."""
MAX_ASPECT_RATIO = 200
"""Longer side by shorter side: Qwen's image processors refuse more."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_WHITES = (1.0, 255.0, 65535.0)
# What Pillow's decoders raise on damaged files, beside OSError.
_DAMAGED = (
    *(OSError, SyntaxError, ValueError, EOFError, ArithmeticError, LookupError, TypeError, RuntimeError),
    *(struct.error, MemoryError),
)


class ImageFileError(ValueError):
    """A file that is not used as an image: what it is, what was got, what was expected."""

    def __init__(self, what: str, got: str, expected: str):
        self.what, self.got, self.expected = what, got, expected
        super().__init__(f"{what}: got {got}, expected {expected}")


def load_image(data: bytes) -> Image.Image:
    """The picture in an image file.

    Args:
        data: a whole file of one of FORMATS.
    Returns: RGB, right side up, without the file's metadata.
    Raises:
        ImageFileError: not such a file, damaged or cut off, more than one picture, too large, too long and narrow, or
            numbers of which nobody can say which is white.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            _require_one_picture(opened)
            picture = opened if opened.mode in _DEEP_MODES else _without_deep_key(opened)
            picture.load()
            upright = _upright(picture, opened)
            seen = _on_white(_in_8_bits(upright, opened.format) if upright.mode in _DEEP_MODES else upright)
            # Pillow keeps the camera's orientation beside the turned picture, and vLLM would turn it once more.
            return Image.frombytes(seen.mode, seen.size, seen.tobytes())
    except ImageFileError:
        raise
    except Image.UnidentifiedImageError:
        raise ImageFileError("no image", _beginning(data), _EXPECTED) from None
    except Image.DecompressionBombError as error:
        raise ImageFileError("too large an image", str(error), f"at most {MAX_PIXELS:,} pixels") from None
    except _DAMAGED as error:
        got = " ".join(str(error).split()) or type(error).__name__
        raise ImageFileError("a damaged image", got, "a whole file that Pillow can decode") from None


def is_plain(data: bytes) -> bool:
    """Whether every program shows a file as load_image does: 8-bit RGB or grey, upright, without transparency.

    Args:
        data: what load_image can read.
    """
    with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
        return (
            opened.mode in ("RGB", "L")
            and opened.format in ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP")
            and not opened.has_transparency_data
            and _orientation(opened) == 1
        )


_EXPECTED = "the bytes of a PNG, JPEG, WebP, GIF, BMP, TIFF, PPM, JPEG 2000 or AVIF file"


def _beginning(data: bytes) -> str:
    if not data:
        return "no bytes at all"
    return "an SVG drawing" if b"<svg" in data[:1000].lower() else f"bytes that begin with {data[:12]!r}"


def _require_one_picture(image: Image.Image) -> None:
    width, height = image.size
    size = f"{width} x {height} pixels"
    if width * height > MAX_PIXELS:
        raise ImageFileError("too large an image", size, f"at most {MAX_PIXELS:,} pixels")
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise ImageFileError("too narrow an image", size, f"sides of at most {MAX_ASPECT_RATIO} to 1")
    frames = getattr(image, "n_frames", 1)
    # The further pictures of a phone's MPO file are previews or the other eye's: viewers show the first.
    if frames > 1 and image.format != "MPO":
        raise ImageFileError("more than one picture", f"{frames} frames or pages", "one: save the one that is meant")


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DAMAGED:  # viewers show a picture whose EXIF data are damaged as it is stored
        return 1


def _upright(picture: Image.Image, opened: Image.Image) -> Image.Image:
    # Pillow turns TIFFs itself while it loads them, and takes the tag out.
    turn = _UPRIGHT.get(_orientation(opened))
    return picture if turn is None else picture.transpose(turn)


def _without_deep_key(image: Image.Image) -> Image.Image:
    """16-bit RGB is read as its upper 8 bits, but its transparent colour stays 16-bit."""
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:
        image.load()
        image.info["transparency"] = tuple(value >> 8 for value in key)
    return image


def _in_8_bits(image: Image.Image, file_format: str | None) -> Image.Image:
    """Grey values of more than 8 bits on the scale of 8: L, or LA where one value is transparent."""
    values = image.convert("I").convert("F") if image.mode.startswith("I;16") else image.convert("F")
    low, high = (float(value) for value in values.getextrema())  # type: ignore[arg-type]
    # A file of 16 bits says so. Numbers of 32 bits, which TIFF has, do not: 1, 255 or 65535 is white.
    known = image.mode != "F" and not (image.mode == "I" and file_format == "TIFF")
    whites = _WHITES[2:] if known else _WHITES[image.mode != "F" :]
    white = next((white for white in whites if high <= white), None)
    if white is None or low < 0 or not math.isfinite(low):
        expected = "0 for black and 1, 255 or 65535 for white: save the picture with 8 bits"
        raise ImageFileError("grey values of an unknown scale", f"{low:g} to {high:g}", expected)
    grey = values.point(lambda value: value * (255 / white) + 0.5).convert("L")  # the conversion cuts decimals off
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return grey
    opaque = Image.fromarray((np.asarray(values) != key).astype(np.uint8) * 255)
    return Image.merge("LA", (grey, opaque))


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    layered = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")
