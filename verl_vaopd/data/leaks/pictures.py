"""What is kept of a picture to find it again: a digest of its pixels, and a perceptual hash of what is drawn.

Figures are thin lines on light paper, and their margins are cut differently from one publication to the next. So the
margin is cut off before the hash is taken (imagehash's DCT hash of 256 bits), and the shape of what is left is compared
beside it, which the hash, made of a square, does not see. The terms of the transform that a symmetric figure does
not have are zero, and their bits are noise: so the figure is hashed out of the middle, with a margin on two sides.
`benchmarks/near_duplicates.py` measures the limits on published figures.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from verl_vaopd.image_files import load_image

MAX_DISTANCE = 32
"""Bits of 256 in which the hashes of nearly the same pictures may differ."""
MAX_STRETCH = 0.06
"""Difference of the logarithms of width by height, both without margin, of nearly the same pictures."""
HASH_SIZE = 16
"""Rows and columns of the hash."""
_LONGEST_SIDE = 512  # pixels, of what is hashed: scans have twenty million
_INK = 32  # grey values from the paper on; JPEG's noise around lines stays below
_PAPER = 95  # percentile of the grey values: the lightest that is not rare. The edge of a tight cut is often ink
_MARGIN = (0.13, 0.31)  # left and top, by width and height


@dataclass(frozen=True)
class Picture:
    """What is kept of a picture."""

    pixels: bytes
    """16 bytes, equal for equal pictures, whatever the format of their files."""
    bits: bytes | None
    """HASH_SIZE * HASH_SIZE bits; None: one colour."""
    stretch: float
    """Logarithm of width by height of what is drawn."""


def picture_of(data: bytes) -> Picture:
    """What is kept of an image file. Raises ImageFileError as load_image."""
    return picture_in(load_image(data))


def picture_in(image: Image.Image) -> Picture:
    """What is kept of an image, as load_image returns it."""
    digest = hashlib.blake2b(repr(image.size).encode(), digest_size=16)
    digest.update(image.tobytes())
    drawn = _drawn(image)
    if drawn is None:
        return Picture(digest.digest(), None, 0.0)
    return Picture(digest.digest(), _hash(*drawn), math.log(drawn[0].width / drawn[0].height))


def _hash(drawn: Image.Image, paper: int) -> bytes:
    import imagehash

    left, top = round(_MARGIN[0] * drawn.width), round(_MARGIN[1] * drawn.height)
    moved = Image.new("L", (left + drawn.width, top + drawn.height), paper)
    moved.paste(drawn, (left, top))
    return np.packbits(imagehash.phash(moved, HASH_SIZE).hash).tobytes()


def _drawn(image: Image.Image) -> tuple[Image.Image, int] | None:
    """The part that differs from the paper, in grey, and the paper's grey. None: there is nothing but paper."""
    grey = image.convert("L")
    grey.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    values = np.asarray(grey).astype(np.int16)
    paper = int(np.percentile(values, _PAPER))
    ink = np.abs(values - paper) > _INK
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    if not rows.size:
        return None
    return grey.crop((int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)), paper
