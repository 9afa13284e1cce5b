import numpy as np
import pytest
from PIL import Image

from verl_vaopd.images import pixelate

MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16", "I;16B"]
SIZES = [(1, 1), (9, 3), (1, 40), (25, 31), (640, 480)]


def noise(mode, size):
    """Random pixels, of which bilinear shrinking leaves a dull middle."""
    width, height = size
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 4), dtype=np.uint8)
    rgba = Image.fromarray(pixels)
    if mode.startswith("I;16"):
        return rgba.convert("L").convert("I").point(lambda value: value * 257).convert(mode)
    if mode in ("LAB", "I", "F"):
        return rgba.convert("RGB").convert("L" if mode in ("I", "F") else mode).convert(mode)
    return rgba.convert(mode)


def array(image):
    return np.asarray(image.convert("RGBA")).astype(int)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES)
def test_mode_and_size_stay_and_the_input_is_untouched(mode, size):
    image = noise(mode, size)
    before = image.tobytes(), dict(image.info), image.getpalette()
    view = pixelate(image)
    assert (view.mode, view.size) == (mode, size)
    assert (image.tobytes(), image.info, image.getpalette()) == before
    assert view is not image


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK"])
def test_equals_the_definition(mode):
    image = noise(mode, (30, 45))
    small = image.resize((3, 4), Image.Resampling.BILINEAR)
    assert pixelate(image).tobytes() == small.resize((30, 45), Image.Resampling.NEAREST).tobytes()


@pytest.mark.parametrize(
    ("side", "ratio", "expected"),
    [
        (30, 0.1, 3),
        (45, 0.1, 4),
        (100, 0.29, 29),  # 28.999999999999996 in floating point
        (9, 0.1, 1),
        (1, 0.1, 1),
        (100, 1e-9, 1),
        (10, 1 / 3, 3),
        (12, 1.0, 12),
        (12, 1, 12),
    ],
)
def test_number_of_blocks(side, ratio, expected):
    stripes = Image.fromarray(np.linspace(0, 255, side).astype(np.uint8)[None, :].repeat(2, axis=0))
    row = np.asarray(pixelate(stripes, ratio))[0]
    assert 1 + np.count_nonzero(np.diff(row)) == expected


def test_ratio_one_changes_nothing():
    image = noise("RGB", (13, 7))
    assert pixelate(image, 1.0).tobytes() == image.tobytes()


def test_detail_is_averaged_not_sampled():
    # A checkerboard of single pixels: the nearest neighbour would be black or white, the average is grey.
    board = Image.fromarray((np.indices((100, 100)).sum(axis=0) % 2 * 255).astype(np.uint8))
    assert np.abs(np.asarray(pixelate(board)).astype(int) - 127).max() < 20


@pytest.mark.parametrize("mode", ["P", "PA", "RGBA", "RGBX", "HSV", "YCbCr"])
def test_modes_without_values_in_between_are_averaged_too(mode):
    image = noise(mode, (100, 60))
    difference = np.abs(array(pixelate(image)) - array(pixelate(image.convert("RGBA"))))
    # Noise averages to within some 25 of the middle; its nearest neighbours would be off by 100. What is left is
    # rounding, and for palettes with transparency the coarser choice of 256 colours.
    assert difference.max() <= (20 if mode == "P" else 4)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I", "F"])
def test_deep_modes_keep_their_range(mode):
    image = noise(mode, (100, 60))
    scale = 257 if mode.startswith("I;16") else 1
    view = np.asarray(pixelate(image).convert("F")) / scale
    assert np.abs(view - np.asarray(pixelate(noise("L", (100, 60))))).max() <= 1.5


def test_one_bit_images_are_thresholded_by_block():
    left_dark = np.zeros((20, 40), dtype=np.uint8)
    left_dark[:, 20:] = 255
    left_dark[1::4, :20] = 255  # a quarter white, the blocks' middle rows among it: dark on average
    view = np.asarray(pixelate(Image.fromarray(left_dark).convert("1", dither=Image.Dither.NONE), 0.1))
    assert not view[:, :18].any()
    assert view[:, 22:].all()


def test_palette_without_transparency_has_flat_blocks_of_true_colour():
    image = noise("RGB", (100, 60)).quantize(64)
    view = pixelate(image)
    small = image.convert("RGB").resize((10, 6), Image.Resampling.BILINEAR)
    assert np.abs(array(view)[5::10, 5::10] - array(small)).max() <= 4
    assert array(view)[..., 3].min() == 255


@pytest.mark.parametrize("by", ["index", "palette"])
def test_palette_keeps_transparency(by):
    rgba = np.zeros((20, 40, 4), dtype=np.uint8)
    rgba[:, 20:] = (200, 30, 60, 255)
    image = Image.fromarray(rgba).quantize(16)
    if by == "index":
        image = Image.fromarray(rgba[..., 3] // 255)
        image.putpalette([0, 0, 0, 200, 30, 60])
        image.info["transparency"] = 0
    assert image.mode == "P"
    view = array(pixelate(image))
    # Away from the edge, where the two halves mix.
    assert view[:, :10, 3].max() == 0
    assert (view[:, 30:] == (200, 30, 60, 255)).all()


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.01, 10, float("nan")])
def test_rejects_ratio(ratio):
    with pytest.raises(ValueError, match=r"^ratio: got .* expected a number in \(0, 1\]"):
        pixelate(noise("RGB", (4, 4)), ratio)


def test_rejects_images_without_pixels():
    with pytest.raises(ValueError, match=r"^image: got size \(0, 5\)"):
        pixelate(Image.new("RGB", (0, 5)))
