"""How well nearly the same pictures are told from others (data/leaks/pictures.py), and what looking for them costs.

    python -m benchmarks.near_duplicates FOLDER... --out benchmarks/results/near_duplicates_cpu.json

FOLDER... have published figures, each of them another one. Of some, altered copies are made: scaled, compressed, with
another margin, recoloured, turned. Told are, for limits on the distance, how many copies are missed, and how many pairs
of different files are found; --pairs FILE writes the latter, to be looked at, since some figures are published twice.
Beside ours are imagehash's hashes as they come, of the same bits or of 64. The time to decode and hash is in core
seconds; that of the search, among as many random hashes as a large data set and its benchmarks have, on the wall clock.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
from PIL import Image, ImageOps

from benchmarks.machine import describe_machine, require_own_result, write_result
from verl_vaopd.data.leaks.neighbours import near_pictures
from verl_vaopd.data.leaks.pictures import MAX_DISTANCE, MAX_STRETCH, Picture, picture_in, picture_of
from verl_vaopd.image_files import ImageFileError, load_image

LIMITS = {"ours": (24, 32, 40, 48, 56), "phash": (24, 32, 40, 48, 56), "phash_64": (4, 6, 8, 10), "dhash_64": (4, 6, 8)}
ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
_LARGEST = 1200  # pixels, of the longer side of what is altered


def scaled(image: Image.Image, factor: float) -> Image.Image:
    """Another resolution."""
    width, height = (max(1, round(side * factor)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def compressed(image: Image.Image, quality: int) -> Image.Image:
    """Through JPEG."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


def with_margin(image: Image.Image) -> Image.Image:
    """More paper, most of it on the left."""
    wide = Image.new("RGB", (round(image.width * 1.25), round(image.height * 1.12)), "white")
    wide.paste(image, (round(image.width * 0.2), round(image.height * 0.03)))
    return wide


def without_margin(image: Image.Image) -> Image.Image:
    """Cut to what is not nearly white."""
    box = image.convert("L").point(lambda value: 255 * (value < 224)).getbbox()
    return image.crop(box) if box else image


def recoloured(image: Image.Image) -> Image.Image:
    """Blue on cream."""
    return ImageOps.colorize(image.convert("L"), (20, 40, 160), (255, 250, 225))  # type: ignore[arg-type]


def turned(image: Image.Image) -> Image.Image:
    """By one degree, as a scan may be."""
    return image.rotate(1, Image.Resampling.BICUBIC, fillcolor="white")


ALTERATIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half the size": lambda image: scaled(image, 0.5),
    "a third of the size": lambda image: scaled(image, 1 / 3),
    "1.5 x the size": lambda image: scaled(image, 1.5),
    "JPEG, quality 50": lambda image: compressed(image, 50),
    "JPEG, quality 20": lambda image: compressed(image, 20),
    "margin cut off": without_margin,
    "wider margin": with_margin,
    "blue on cream": recoloured,
    "half, wider margin, JPEG 40": lambda image: compressed(scaled(with_margin(image), 0.5), 40),
    "turned by a degree": turned,
}


def hashes(image: Image.Image) -> dict[str, tuple[bytes, float]]:
    """Of a picture: {kind: its hash, and the logarithm of its shape or 0}."""
    ours = picture_in(image)
    grey = image.convert("L")
    others = {
        "phash": imagehash.phash(grey, 16),
        "phash_64": imagehash.phash(grey),
        "dhash_64": imagehash.dhash(grey),
    }
    found = {kind: (np.packbits(of_image.hash).tobytes(), 0.0) for kind, of_image in others.items()}
    return {"ours": (ours.bits or b"", ours.stretch), **found}


def measured(job: tuple[Path, bool]) -> dict[str, dict[str, tuple[bytes, float]]] | None:
    """Of a file, and if it is asked for of its altered copies: {alteration, or "" for none: hashes}."""
    path, altered = job
    try:
        image = load_image(path.read_bytes())
    except ImageFileError:
        return None
    if not altered:
        return {"": hashes(image)}
    image.thumbnail((_LARGEST, _LARGEST))
    return {"": hashes(image), **{name: hashes(alter(image)) for name, alter in ALTERATIONS.items()}}


def distance(one: tuple[bytes, float], other: tuple[bytes, float]) -> int:
    """Bits; a shape that differs too much is as far as can be."""
    if len(one[0]) != len(other[0]) or abs(one[1] - other[1]) > MAX_STRETCH:
        return 8 * max(len(one[0]), len(other[0]))
    return int(np.bitwise_count(np.frombuffer(one[0], np.uint8) ^ np.frombuffer(other[0], np.uint8)).sum())


def pairs(all_hashes: list[tuple[bytes, float]], limit: int) -> Iterator[tuple[int, int, int]]:
    """Numbers of pictures that are at most so far from each other, and how far."""
    length = max(len(bits) for bits, _ in all_hashes)
    blank = np.array([not bits for bits, _ in all_hashes])
    words = np.frombuffer(b"".join(bits or bytes(length) for bits, _ in all_hashes), np.uint8).reshape(-1, length)
    shapes = np.array([shape for _, shape in all_hashes])
    for number in range(len(words)):
        bits = np.bitwise_count(words[number + 1 :] ^ words[number]).sum(axis=1, dtype=np.int64)
        there = (bits <= limit) & (abs(shapes[number + 1 :] - shapes[number]) <= MAX_STRETCH)
        there &= ~(blank[number + 1 :] | blank[number])
        for other in np.flatnonzero(there):
            yield number, number + 1 + int(other), int(bits[other])


def search_seconds(num: int) -> float:
    """Of near_pictures among random hashes and shapes as figures have."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 256, (num, 32), np.uint8)
    shapes = rng.normal(0.3, 0.5, num)
    pictures = [Picture(number.to_bytes(16), bits[number].tobytes(), float(shapes[number])) for number in range(num)]
    start = time.perf_counter()
    near_pictures(pictures)
    return time.perf_counter() - start


def core_seconds(files: list[Path]) -> float:
    """Of picture_of, for a file on average, in one process: a data set is read in as many as there are cores."""
    data = [file.read_bytes() for file in files]
    start = 0.0
    for number, content in enumerate([*data[:5], *data]):
        if number == 5:  # all is imported
            start = time.process_time()
        with contextlib.suppress(ImageFileError):
            picture_of(content)
    return (time.process_time() - start) / len(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--altered", type=int, default=150, help="files of which altered copies are made")
    parser.add_argument("--searched", type=int, default=50_000, help="hashes that are searched for pairs")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--pairs", type=Path, help="JSON file with the pairs of different files within our limit")
    options = parser.parse_args()
    if options.out:
        require_own_result(options.out)
    files = sorted(path for folder in options.folders for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    altered = set(random.Random(0).sample(files, min(options.altered, len(files))))
    machine = describe_machine()
    with ProcessPoolExecutor(machine["cores"]) as pool:
        answers = pool.map(measured, [(file, file in altered) for file in files], chunksize=2)
        of_file = {file: answer for file, answer in zip(files, answers, strict=True) if answer is not None}
    copies = [answer for answer in of_file.values() if len(answer) > 1]
    result: dict[str, Any] = {"machine": machine, "files": len(of_file), "altered": len(copies)}
    result["limit"], result["max_stretch"] = MAX_DISTANCE, MAX_STRETCH
    result["core_seconds_per_10000_images"] = 10_000 * core_seconds(sorted(altered))
    result["searched_hashes"], result["search_seconds"] = options.searched, search_seconds(options.searched)
    for kind, limits in LIMITS.items():
        missed = {
            name: [sum(distance(answer[""][kind], answer[name][kind]) > limit for answer in copies) for limit in limits]
            for name in ALTERATIONS
        }
        found = [*pairs([answer[""][kind] for answer in of_file.values()], max(limits))]
        counts = [sum(bits <= limit for _, _, bits in found) for limit in limits]
        result[kind] = {"limits": limits, "pairs_found": counts, "copies_missed": missed}
        if kind == "ours" and options.pairs:
            names = [str(file) for file in of_file]
            told = sorted((bits, names[one], names[other]) for one, other, bits in found)
            options.pairs.write_text(json.dumps(told, indent=0))
    print(json.dumps(result, indent=1))
    if options.out:
        write_result(options.out, result)


if __name__ == "__main__":
    main()
