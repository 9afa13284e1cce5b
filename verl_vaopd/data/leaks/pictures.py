"""What is kept of a picture to find it again: a digest of its pixels, and a perceptual hash of what is drawn.

Figures are thin lines on white, and their margins are cut differently from one publication to the next. So the margin
is cut off before the hash is taken (imagehash's DCT hash of 256 bits), and the shape of what is left is compared beside
it, which the hash, made of a square, does not see. `benchmarks/near_duplicates.py` measures the limits on published
figures.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from verl_vaopd.image_files import load_image

MAX_DISTANCE = 24
"""Bits of 256 in which the hashes of nearly the same pictures may differ."""
MAX_STRETCH = 0.06
"""Difference of the logarithms of width by height, both without margin, of nearly the same pictures."""
HASH_SIZE = 16
"""Rows and columns of the hash."""
_LONGEST_SIDE = 512  # pixels, of what is hashed: scans have twenty million
_INK = 32  # grey values from the background on; JPEG's noise around lines stays below


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
    image = load_image(data)
    digest = hashlib.blake2b(repr(image.size).encode(), digest_size=16)
    digest.update(image.tobytes())
    drawn = _drawn(image)
    if drawn is None:
        return Picture(digest.digest(), None, 0.0)
    return Picture(digest.digest(), _hash(drawn), math.log(drawn.width / drawn.height))


def _hash(drawn: Image.Image) -> bytes:
    import imagehash

    return np.packbits(imagehash.phash(drawn, HASH_SIZE).hash).tobytes()


def _drawn(image: Image.Image) -> Image.Image | None:
    """The part that differs from the background, which is what most of the edge shows; in grey. None: nothing does."""
    grey = image.convert("L")
    grey.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    values = np.asarray(grey).astype(np.int16)
    background = np.median(np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]]))
    ink = np.abs(values - background) > _INK
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    if not rows.size:
        return None
    return grey.crop((int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1))
