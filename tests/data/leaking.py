"""Figures and rows to look for leaks in."""

from __future__ import annotations

import io
import random

from PIL import Image, ImageDraw, ImageOps


def figure(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Six lines, a circle and a label on white: another one for every seed."""
    rng = random.Random(seed)
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    points = [(rng.randrange(30, size[0] - 30), rng.randrange(30, size[1] - 30)) for _ in range(7)]
    draw.line(points, "black", 2)
    (x, y), radius = points[0], rng.randrange(10, 40)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline="black", width=2)
    draw.text(points[3], str(seed), "black")
    return image


def encoded(image: Image.Image, file_format: str = "PNG", **options: int) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def altered(image: Image.Image) -> dict[str, bytes]:
    """Copies that show the same."""
    wide = Image.new("RGB", (image.width + 90, image.height + 30), "white")
    wide.paste(image, (70, 10))
    box = ImageOps.invert(image.convert("L")).getbbox()
    return {
        "smaller": encoded(image.resize((image.width // 2, image.height // 2))),
        "compressed": encoded(image, "JPEG", quality=40),
        "wider margin": encoded(wide),
        "margin cut off": encoded(image.crop(box)),
        "recoloured": encoded(ImageOps.colorize(image.convert("L"), (20, 40, 160), (255, 250, 225))),  # type: ignore
    }


def row(question: str, *images: bytes, index: int | str = 0) -> dict[str, object]:
    """Of a data file."""
    return {
        "prompt": [{"role": "user", "content": "<image>" * len(images) + question}],
        "images": [{"bytes": image} for image in images],
        "data_source": "exact_match",
        "reward_model": {"ground_truth": "42"},
        "extra_info": {"index": index},
    }
