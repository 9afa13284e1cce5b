"""Image files of every mode against the picture that a person sees, and files that are none."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from verl_vaopd.image_files import is_plain, load_image

RAMP = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (8, 1))
"""Grey from black to nearly white, [8, 64]."""
COLOURS = np.zeros((8, 64, 3), dtype=np.uint8)
COLOURS[:, :32], COLOURS[:4, 32:], COLOURS[4:, 32:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
HALF_CLEAR = np.where(np.arange(64) < 32, 0, 255).astype(np.uint8) * np.ones((8, 1), dtype=np.uint8)
"""An alpha channel: the left half is transparent."""
ON_WHITE = np.where(HALF_CLEAR[..., None] == 0, 255, COLOURS)
GREY_ON_WHITE = np.where(HALF_CLEAR == 0, 255, RAMP)


def encoded(image: Image.Image | np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(file, kind, **options)
    return file.getvalue()


def with_alpha(image: np.ndarray) -> Image.Image:
    result = Image.fromarray(image)
    result.putalpha(Image.fromarray(HALF_CLEAR))
    return result


def palette(**options: object) -> bytes:
    """COLOURS with palette index 0 for red, 1 for green, 2 for blue."""
    image = Image.fromarray((COLOURS.argmax(axis=2)).astype(np.uint8), mode="P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    return encoded(image, **options)


def deep_rgb(transparent: bytes) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write: COLOURS in the upper bytes, 0x12 in the lower ones."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + np.stack([row, np.full_like(row, 0x12)], axis=-1).tobytes() for row in COLOURS)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 8, 16, 2, 0, 0, 0))
    key = chunk(b"tRNS", transparent) if transparent else b""
    return b"\x89PNG\r\n\x1a\n" + header + key + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


DEEP = RAMP.astype(np.uint16) * 257
SEEN = {
    "1": (encoded(Image.fromarray(RAMP >= 128)), np.where(RAMP >= 128, 255, 0)),
    "L": (encoded(RAMP), RAMP),
    "LA": (encoded(with_alpha(RAMP)), GREY_ON_WHITE),
    "L with a transparent grey": (encoded(RAMP, transparency=0), np.where(RAMP == 0, 255, RAMP)),
    "P": (palette(), COLOURS),
    "P with a transparent colour": (palette(transparency=0), ON_WHITE),
    "P with transparencies": (palette(transparency=b"\x00\xff\xff"), ON_WHITE),
    "P in a GIF": (palette(kind="GIF", transparency=0), ON_WHITE),
    "RGB": (encoded(COLOURS), COLOURS),
    "RGB with a transparent colour": (encoded(COLOURS, transparency=(255, 0, 0)), ON_WHITE),
    "RGB of 16 bits": (deep_rgb(b""), COLOURS),
    "RGB of 16 bits with a transparent colour": (deep_rgb(b"\xff\x12\x00\x12\x00\x12"), ON_WHITE),
    "RGBA": (encoded(with_alpha(COLOURS)), ON_WHITE),
    "RGBA in a WebP": (encoded(with_alpha(COLOURS), "WEBP", lossless=True), ON_WHITE),
    "CMYK": (encoded(Image.fromarray(COLOURS).convert("CMYK"), "TIFF"), COLOURS),
    "I;16": (encoded(DEEP), RAMP),
    "I;16 that is dark": (encoded(DEEP // 512), np.zeros_like(RAMP)),
    "I;16 with a transparent grey": (encoded(DEEP, transparency=0), np.where(RAMP == 0, 255, RAMP)),
    "I;16 in a TIFF": (encoded(DEEP, "TIFF"), RAMP),
    "I;16 in a PGM": (b"P5 64 8 65535\n" + DEEP.astype(">u2").tobytes(), RAMP),
    "I of 16 bits": (encoded(DEEP.astype(np.int32), "TIFF"), RAMP),
    "I of 8 bits": (encoded(RAMP.astype(np.int32), "TIFF"), RAMP),
    "F up to 1": (encoded((RAMP / 255).astype(np.float32), "TIFF"), RAMP),
    "F up to 255": (encoded(RAMP.astype(np.float32), "TIFF"), RAMP),
}


@pytest.mark.parametrize("mode", SEEN)
def test_a_mode_is_what_a_person_sees(mode: str) -> None:
    data, seen = SEEN[mode]
    picture = load_image(data)
    assert picture.mode == "RGB"
    seen = seen if seen.ndim == 3 else np.repeat(seen[..., None], 3, axis=2)
    assert np.abs(np.asarray(picture).astype(int) - seen).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_right_side_up(orientation: int, kind: str) -> None:
    # What the tag says of the stored picture: which edge is up, and whether it is mirrored (EXIF 2.3, 4.6.4).
    back = [None, "fliplr", "rot180", "flipud", "transpose", "rot90", "anti-transpose", "rot270"][orientation - 1]
    stored = {
        None: COLOURS,
        "fliplr": COLOURS[:, ::-1],
        "rot180": COLOURS[::-1, ::-1],
        "flipud": COLOURS[::-1],
        "transpose": COLOURS.transpose(1, 0, 2),
        "rot90": np.rot90(COLOURS, 1),  # tag 6: to be turned clockwise, so it lies counter-clockwise
        "anti-transpose": COLOURS[::-1, ::-1].transpose(1, 0, 2),
        "rot270": np.rot90(COLOURS, 3),
    }[back]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(np.ascontiguousarray(stored), kind, exif=exif, **options)
    picture = load_image(data)
    assert (np.asarray(picture) == COLOURS).all()
    # What vLLM and transformers' loaders do with a picture that they are given.
    assert (np.asarray(ImageOps.exif_transpose(picture)) == COLOURS).all()
    assert is_plain(data) == (orientation == 1 and kind != "TIFF")


def test_damaged_exif_data_turn_nothing() -> None:
    data = encoded(COLOURS, "WEBP", lossless=True, exif=b"Exif\0\0no TIFF header")
    assert (np.asarray(load_image(data)) == COLOURS).all()


NOISE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_a_file_that_is_cut_off(kind: str, share: float) -> None:
    data = encoded(NOISE, kind)
    load_image(data)
    with pytest.raises(ValueError, match=r"a damaged image: got \w|no image: got bytes that begin"):
        load_image(data[: int(len(data) * share)])


FRAMES = [Image.fromarray(np.full((8, 8, 3), value, dtype=np.uint8)) for value in (0, 90, 180)]


def animation(kind: str) -> bytes:
    return encoded(FRAMES[0], kind, save_all=True, append_images=FRAMES[1:])


NO_PICTURES = [
    (b"", "no image: got no bytes at all, expected the bytes of a PNG"),
    (b"iVBORw0KGgoAAAANSUhEUg", "no image: got bytes that begin with"),
    (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "got an SVG drawing"),
    (b"%PDF-1.4", "no image"),
    *((animation(kind), "more than one picture: got 3 frames or pages") for kind in ("GIF", "WEBP", "PNG", "TIFF")),
    (encoded(Image.new("1", (20_000, 6_000))), r"too large an image: got 20000 x 6000 pixels"),
    (encoded(Image.new("1", (60_000, 6_000))), r"too large an image: .*360000000"),
    (encoded(Image.new("L", (201, 1))), "too narrow an image: got 201 x 1 pixels"),
    (encoded(np.full((8, 8), np.nan, dtype=np.float32), "TIFF"), "grey values of an unknown scale: got nan"),
    (encoded(np.full((8, 8), -1, dtype=np.int32), "TIFF"), "got -1 to -1"),
    (encoded(np.full((8, 8), 70_000, dtype=np.int32), "TIFF"), "expected 0 for black"),
]


@pytest.mark.parametrize(("data", "says"), NO_PICTURES, ids=map(str, range(len(NO_PICTURES))))
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_no_picture_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        load_image(data)


def test_a_single_pixel_is_a_picture() -> None:
    assert load_image(encoded(Image.new("RGB", (1, 1), "red"))).getpixel((0, 0)) == (255, 0, 0)
