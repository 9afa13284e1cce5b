import dataclasses
import inspect

import numpy as np
import pytest
from PIL import Image

from verl_vaopd.images import DEGRADATIONS, Corruption, degradation_options, degrade, pixelate

MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16", "I;16B"]
KINDS = sorted(DEGRADATIONS)
# Every mode at one size; every size in one mode of each way through the code: as it is, palette, transparent, deep.
MODES_AND_SIZES = [(mode, (25, 31)) for mode in MODES] + [
    (mode, size) for mode in ("RGB", "P", "RGBA", "I;16") for size in [(1, 1), (9, 3), (1, 40), (120, 90)]
]
# An image passes to the mode of another by way of RGB, or of RGBA: every mode on either side of both, and to itself.
MODES_AND_OTHERS = sorted(
    {pair for mode in MODES for via in ("RGB", "LA", mode) for pair in ((mode, via), (via, mode))}
)


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


def view_of(image, kind, seed=0, **options):
    """The view; in the place of another image, one that is black on the left and white on the right."""
    if kind == "other_image":
        options["other"] = Image.fromarray(np.repeat([[0, 255]], 10, axis=1).astype(np.uint8))
    return degrade(image, kind, seed, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("mode", "size"), MODES_AND_SIZES)
def test_mode_and_size_stay_and_the_input_is_untouched(mode, size, kind):
    image = noise(mode, size)
    before = image.tobytes(), dict(image.info), image.getpalette()
    view = view_of(image, kind)
    assert (view.mode, view.size) == (mode, size)
    assert (image.tobytes(), image.info, image.getpalette()) == before
    assert view is not image


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["RGB", "P", "L"])
def test_the_view_depends_on_the_seed_alone(mode, kind):
    image = noise(mode, (70, 56))
    views = [view_of(image, kind, seed).tobytes() for seed in (1, 1, 2)]
    assert views[0] == views[1]
    assert (views[0] != views[2]) == (kind in ("patch_mask", "shuffle_patches"))
    assert views[0] != image.tobytes()


def test_a_change_of_the_view_is_not_a_change_of_the_image():
    # Options under which the view equals the image: it must be a copy all the same.
    image = noise("RGB", (20, 20))
    kept = image.tobytes()
    unchanged = [
        degrade(image, "pixelate", ratio=1.0),
        degrade(image, "patch_mask", mask_prob=0.0),
        degrade(image, "shuffle_patches", block=50),
        degrade(image, "other_image", other=image),
    ]
    for view in unchanged:
        assert view.tobytes() == kept
        view.paste(0, (0, 0, 10, 10))
        assert image.tobytes() == kept


def test_degrade_is_the_function_of_that_name():
    image = noise("RGB", (50, 30))
    assert degrade(image, "pixelate", ratio=0.3).tobytes() == pixelate(image, 0.3).tobytes()
    assert degrade(image, "pixelate").tobytes() == pixelate(image).tobytes()


def test_options_of_the_kinds_and_their_defaults():
    assert {kind: degradation_options(kind) for kind in DEGRADATIONS} == {
        "pixelate": {"ratio"},
        "blank": set(),
        "blur": {"radius"},
        "patch_mask": {"block", "mask_prob"},
        "shuffle_patches": {"block"},
        "other_image": set(),
    }
    defaults = dataclasses.asdict(Corruption())
    for kind, function in DEGRADATIONS.items():
        parameters = inspect.signature(function).parameters
        assert {name: parameters[name].default for name in degradation_options(kind)}.items() <= defaults.items()


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


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "YCbCr", "I", "F", "I;16"])
def test_blank_is_the_mean_colour(mode):
    image = noise(mode, (60, 45))
    view = np.asarray(degrade(image, "blank").convert("F") if mode.startswith("I;") else degrade(image, "blank"))
    mean = np.asarray(image).reshape(45 * 60, -1).mean(axis=0)
    assert (view == view[0, 0]).all()
    # Rounded twice.
    assert np.abs(view[0, 0] - mean).max() <= 1


def test_blank_weighs_colours_by_their_opacity():
    rgba = np.zeros((10, 10, 4), dtype=np.uint8)
    rgba[:, :5] = (200, 30, 60, 255)
    assert np.abs(array(degrade(Image.fromarray(rgba), "blank"))[3, 3] - (200, 30, 60, 127)).max() <= 1


def gaussian(pixels, deviation):
    """Separable convolution in float64, edges repeated."""
    reach = round(5 * deviation)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        pad = [(reach, reach) if axis == other else (0, 0) for other in (0, 1)]
        lines = np.apply_along_axis(np.convolve, axis, np.pad(pixels.astype(float), pad, mode="edge"), kernel, "valid")
        pixels = lines
    return pixels


@pytest.mark.parametrize("mode", ["L", "I", "F", "I;16"])
def test_blur_is_a_gaussian_of_that_share_of_the_longer_side(mode):
    pixels = np.zeros((60, 100), dtype=np.uint8)
    pixels[20:40, 30:70] = 200
    pixels[:, 90:] = 255
    scale = 257 if mode == "I;16" else 1
    deep = Image.fromarray(pixels) if mode == "L" else Image.fromarray(pixels).convert("I").point(lambda v: v * scale)
    view = np.asarray(degrade(deep.convert(mode), "blur", radius=0.03).convert("F")) / scale
    # Pillow makes its Gaussian of three boxes.
    assert np.abs(view - gaussian(pixels, 3.0)).max() < 5
    assert np.abs(view - gaussian(pixels, 4.0)).max() > 10


def test_blur_of_a_deep_image_rounds_to_the_nearest_of_256_steps():
    # Its values are these steps, and the Gaussian is narrower than a pixel: nothing changes.
    steps = np.rint(np.arange(256) * 1000 / 255).astype(np.int32).reshape(16, 16)
    assert np.array_equal(np.asarray(degrade(Image.fromarray(steps), "blur", radius=1e-6)), steps)


@pytest.mark.parametrize("mode", ["RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "P", "LA", "RGBA"])
def test_blur_reaches_every_band(mode):
    image = noise(mode, (100, 60))
    spread = array(degrade(image, "blur", radius=0.05)).std(axis=(0, 1))[:3]
    assert (spread < array(image).std(axis=(0, 1))[:3] / 2).all()


@pytest.mark.parametrize("mode", ["I", "F", "I;16", "L", "RGB", "1"])
def test_blur_leaves_a_flat_image_alone(mode):
    image = Image.new("L", (30, 20), 255).convert(mode)
    assert degrade(image, "blur").tobytes() == image.tobytes()


@pytest.mark.parametrize("kind", ["blur", "pixelate", "blank"])
def test_hidden_colours_of_transparent_pixels_stay_hidden(kind):
    rgba = np.zeros((40, 40, 4), dtype=np.uint8)
    rgba[:, :20] = (255, 0, 0, 0)
    rgba[:, 20:] = (0, 0, 255, 255)
    view = array(degrade(Image.fromarray(rgba), kind))
    assert view[view[..., 3] > 0][:, 0].max() == 0


def blocks_of(pixels, side):
    """Whole and cut blocks in reading order."""
    height, width = pixels.shape[:2]
    return [pixels[y : y + side, x : x + side] for y in range(0, height, side) for x in range(0, width, side)]


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode not in ("P", "PA")])
def test_patch_mask_blackens_whole_blocks_and_nothing_else(mode):
    # 71 x 43: the blocks at the right and the lower edge are cut to 1 pixel.
    image = noise(mode, (71, 43))
    view = degrade(image, "patch_mask", seed=3)
    before, after = (np.asarray(x.convert("F") if mode.startswith("I") else x) for x in (image, view))
    black = np.asarray(Image.new("RGB", (1, 1)).convert(mode).convert("F" if mode.startswith("I") else mode))[0, 0]
    masked = [bool((new == black).all()) for new in blocks_of(after, 14)]
    assert 5 < sum(masked) < len(masked) == 6 * 4
    for old, new, is_masked in zip(blocks_of(before, 14), blocks_of(after, 14), masked, strict=True):
        assert is_masked or (old == new).all()


@pytest.mark.parametrize("mode", ["P", "PA"])
def test_patch_mask_of_a_palette_image_has_black_and_about_the_same_colours(mode):
    image = noise("RGB", (71, 43)).quantize(60)
    image = image.convert("RGBA").convert("PA") if mode == "PA" else image
    before, after = array(image), array(degrade(image, "patch_mask", seed=3))
    masked = (after[..., :3] == 0).all(axis=2)
    assert 0.4 < masked.mean() < 0.8
    assert np.abs(before - after)[~masked].max() <= 8


def test_patch_mask_draws_each_block_with_its_probability():
    image = Image.new("L", (1400, 1400), 255)
    for mask_prob in (0.2, 0.6):
        share = (np.asarray(degrade(image, "patch_mask", seed=1, mask_prob=mask_prob))[::14, ::14] == 0).mean()
        # 10,000 blocks: a standard deviation of 0.005.
        assert abs(share - mask_prob) < 0.02
    assert not np.asarray(degrade(image, "patch_mask", mask_prob=1)).any()


def test_patch_mask_of_any_block_size():
    image = Image.new("L", (30, 20), 255)
    assert np.asarray(degrade(image, "patch_mask", block=1, seed=5)).mean() == pytest.approx(0.4 * 255, rel=0.2)
    views = [np.asarray(degrade(image, "patch_mask", block=10**9, seed=seed)) for seed in range(20)]
    assert {view.mean() for view in views} == {0.0, 255.0}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(71, 43), (70, 42)])
def test_shuffle_patches_moves_whole_blocks_and_nothing_else(mode, size):
    image = noise(mode, size)
    view = degrade(image, "shuffle_patches", seed=2)
    before, after = (np.asarray(x.convert("F") if mode.startswith("I") else x) for x in (image, view))
    whole = [np.s_[:42, :70]] * 2
    old, new = (blocks_of(pixels[part], 14) for pixels, part in zip((before, after), whole, strict=True))
    assert sorted(block.tobytes() for block in old) == sorted(block.tobytes() for block in new)
    assert sum(not np.array_equal(a, b) for a, b in zip(old, new, strict=True)) > len(old) / 2
    assert np.array_equal(before[42:], after[42:])
    assert np.array_equal(before[:, 70:], after[:, 70:])
    assert view.getpalette() == image.getpalette()


def test_shuffle_patches_puts_any_block_anywhere():
    # Four blocks of one pixel: 24 orders, each equally likely.
    image = Image.fromarray(np.array([[0, 1], [2, 3]], dtype=np.uint8))
    orders = [degrade(image, "shuffle_patches", block=1, seed=seed).tobytes() for seed in range(2400)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 24
    # 100 each, with a standard deviation of 10.
    assert max(abs(count - 100) for count in counts) < 50


@pytest.mark.parametrize(("mode", "other_mode"), MODES_AND_OTHERS)
def test_other_image_takes_size_and_mode_of_the_first(mode, other_mode):
    image, other = noise(mode, (30, 20)), noise(other_mode, (45, 50))
    before = other.tobytes(), other.getpalette()
    view = degrade(image, "other_image", other=other)
    assert (view.mode, view.size) == (mode, (30, 20))
    assert (other.tobytes(), other.getpalette()) == before


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "YCbCr", "P"])
def test_other_image_shows_the_other_one(mode):
    left_dark = np.zeros((50, 80, 3), dtype=np.uint8)
    left_dark[:, 40:] = (250, 240, 230)
    view = np.asarray(degrade(noise(mode, (40, 30)), "other_image", other=Image.fromarray(left_dark)).convert("RGB"))
    assert view[:, :15].max() <= 3
    assert np.abs(view[:, 25:].mean(axis=(0, 1)) - (240 if mode == "L" else (250, 240, 230))).max() < 4


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("pixelated", {}, r"^kind: got 'pixelated', expected one of pixelate, blank, blur, patch_mask"),
        ("pixelate", {"radius": 0.1}, "^pixelate: got radius, expected no other options than ratio"),
        ("patch_mask", {"ratio": 0.1}, "^patch_mask: got ratio, expected no other options than block, mask_prob"),
        ("blank", {"ratio": 0.1}, "^blank: got ratio, expected no other options than none at all"),
        ("blur", {"other": Image.new("L", (1, 1))}, "^blur: got other"),
        ("other_image", {}, "^other: got None, expected an image"),
        ("other_image", {"other": "image.png"}, "^other: got 'image.png'"),
        ("other_image", {"other": Image.new("L", (0, 4))}, "^image: got size"),
        ("blur", {"radius": 0.0}, "^radius: got 0.0, expected a share"),
        ("blur", {"radius": 20}, "^radius: got 20"),
        ("blur", {"radius": float("nan")}, "^radius: got nan"),
        ("patch_mask", {"mask_prob": -0.1}, r"^mask_prob: got -0.1, expected a number in \[0, 1\]"),
        ("patch_mask", {"mask_prob": 60}, "^mask_prob: got 60"),
        ("patch_mask", {"block": 0}, "^block: got 0, expected a whole number"),
        ("shuffle_patches", {"block": 14.0}, "^block: got 14.0"),
        ("shuffle_patches", {"block": -1}, "^block: got -1"),
    ],
)
def test_degrade_rejects(kind, options, message):
    with pytest.raises(ValueError, match=message):
        degrade(noise("RGB", (4, 4)), kind, **options)


def test_degradation_options_rejects_unknown_kinds():
    with pytest.raises(ValueError, match=r"^kind: got 'mosaic'"):
        degradation_options("mosaic")


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.01, 10, float("nan")])
def test_rejects_ratio(ratio):
    with pytest.raises(ValueError, match=r"^ratio: got .*, expected more than 0, at most 1"):
        pixelate(noise("RGB", (4, 4)), ratio)


@pytest.mark.parametrize("kind", KINDS)
def test_rejects_images_without_pixels(kind):
    with pytest.raises(ValueError, match=r"^image: got size \(0, 5\)"):
        view_of(Image.new("RGB", (0, 5)), kind)
