"""Figures of the tinygeo world: a coloured polygon with a length of at most two digits printed on every side.

An image is 96 x 96 pixels. Digits come from an embedded 5 x 7 bitmap font drawn at twice its size (10 x 14 pixels), so
no font file is needed and every machine draws the same pixels. Pixelating the image to a tenth of its resolution
(verl_vaopd.images.pixelate) destroys the digits, keeps the fill colour, and keeps the kind of figure and the width of
its outline in part.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

IMAGE_SIZE = 96
GLYPH_WIDTH, GLYPH_HEIGHT, GLYPH_SCALE = 5, 7, 2
GLYPH_ADVANCE = (GLYPH_WIDTH + 1) * GLYPH_SCALE
LABEL_GRID = 2  # label corners lie on multiples of this many pixels
LABEL_MARGIN = 2  # white pixels kept around a label
MIN_LENGTH, MAX_LENGTH = 10, 99

FONT = {
    "0": "01110 10001 10011 10101 11001 10001 01110",
    "1": "00100 01100 00100 00100 00100 00100 01110",
    "2": "01110 10001 00001 00010 00100 01000 11111",
    "3": "11111 00010 00100 00010 00001 10001 01110",
    "4": "00010 00110 01010 10010 11111 00010 00010",
    "5": "11111 10000 11110 00001 00001 10001 01110",
    "6": "00110 01000 10000 11110 10001 10001 01110",
    "7": "11111 00001 00010 00100 01000 01000 01000",
    "8": "01110 10001 10001 01110 10001 10001 01110",
    "9": "01110 10001 10001 01111 00001 00010 01100",
}
_GLYPHS = {
    digit: np.kron(
        np.array([[int(bit) for bit in row] for row in rows.split()], dtype=bool),
        np.ones((GLYPH_SCALE, GLYPH_SCALE), dtype=bool),
    )
    for digit, rows in FONT.items()
}


@dataclass(frozen=True)
class Shape:
    """A polygon before jitter; A lies at `start_degrees` (clockwise from the right), the others follow clockwise."""

    num_sides: int
    start_degrees: float
    radius: float
    center: tuple[float, float]


SHAPES = {
    "triangle": Shape(3, -90, 48, (48, 58)),
    "quadrilateral": Shape(4, -135, 49, (48, 48)),
    "pentagon": Shape(5, -90, 42, (48, 51)),
    "hexagon": Shape(6, -90, 40, (48, 48)),
}
KINDS = tuple(SHAPES)
# name -> (outline, fill)
COLORS = {
    "red": ((190, 40, 40), (250, 190, 190)),
    "blue": ((40, 80, 190), (190, 210, 250)),
    "green": ((30, 130, 60), (190, 235, 195)),
    "yellow": ((150, 120, 20), (250, 235, 150)),
    "purple": ((120, 50, 160), (225, 195, 245)),
}
LINES = {"thin": 1, "thick": 4}  # name -> outline width in pixels
MAX_SIDES = max(shape.num_sides for shape in SHAPES.values())


@dataclass(frozen=True)
class Style:
    """How figures are drawn. A property keeps its name in every style, so that responses stay true.

    Attributes:
        colors, lines: as COLORS and LINES, with the same keys.
        dash: length in pixels of an outline's dashes, and about that of its gaps; None: drawn through.
        max_turn: largest turn of the polygon, either way, in degrees.
        max_shift: largest distance of a label from the middle of its side, either way, as a share of the side.
    """

    colors: Mapping[str, tuple[tuple[int, int, int], tuple[int, int, int]]]
    lines: Mapping[str, int]
    dash: int | None = None
    max_turn: float = 0.0
    max_shift: float = 0.0


PLAIN = Style(COLORS, LINES)


@dataclass(frozen=True)
class Glyph:
    """One drawn digit: its value, its centre in pixels, the side it belongs to, and its place (0 tens, 1 ones)."""

    digit: int
    x: float
    y: float
    side: int
    place: int


@dataclass(frozen=True)
class Figure:
    """What an image shows.

    Attributes:
        kind, color, line: keys of SHAPES, COLORS, LINES.
        lengths: one length per side, in the order of `side_names(kind)`.
        image: [96, 96, 3] uint8.
        glyphs: every digit drawn, tens before ones, side after side.
    """

    kind: str
    color: str
    line: str
    lengths: tuple[int, ...]
    image: np.ndarray
    glyphs: tuple[Glyph, ...]

    @property
    def sides(self) -> tuple[str, ...]:
        return side_names(self.kind)

    def length(self, side: str) -> int:
        return self.lengths[self.sides.index(side)]


def corner_names(kind: str) -> str:
    """ABCD for a quadrilateral; clockwise, A at the top (top left)."""
    return "ABCDEF"[: SHAPES[kind].num_sides]


def side_names(kind: str) -> tuple[str, ...]:
    """("AB", "BC", "CD", "DA") for a quadrilateral: clockwise, the last side closes the figure."""
    corners = corner_names(kind)
    return tuple(a + b for a, b in zip(corners, corners[1:] + corners[:1], strict=True))


def draw_figure(rng: random.Random, kind: str, lengths: tuple[int, ...], style: Style = PLAIN) -> Figure:
    """Draw a figure with the given lengths; colour, outline, corners and label places are drawn from `rng`.

    Raises:
        ValueError: if the number of lengths is not the number of sides, or a length has no room in a label.
    """
    shape = SHAPES[kind]
    if len(lengths) != shape.num_sides or not all(1 <= length <= MAX_LENGTH for length in lengths):
        raise ValueError(f"a {kind} needs {shape.num_sides} lengths between 1 and {MAX_LENGTH}, got {lengths}")
    color, line = rng.choice(tuple(COLORS)), rng.choice(tuple(LINES))
    image, corners = _draw_polygon(rng, kind, color, line, style)
    labels = []
    for k, length in enumerate(lengths):
        (x0, y0), (x1, y1) = corners[k], corners[(k + 1) % shape.num_sides]
        shift = _uniform(rng, style.max_shift)
        x, y = (x0 + x1) / 2 + shift * (x1 - x0), (y0 + y1) / 2 + shift * (y1 - y0)
        labels.append((str(length), x + rng.randint(-2, 2), y + rng.randint(-2, 2), k))
    return Figure(kind, color, line, lengths, image, _draw_labels(image, labels))


def draw_scattered_labels(rng: random.Random) -> tuple[np.ndarray, tuple[Glyph, ...]]:
    """A blank or polygon background under up to 12 labels at random places: dense practice for the vision tower.

    Returns: image [96, 96, 3] uint8 and its glyphs (their sides say nothing: no figure owns the labels).
    """
    image, _ = _draw_polygon(rng, rng.choice(KINDS), rng.choice(tuple(COLORS)), rng.choice(tuple(LINES)), PLAIN)
    if rng.random() < 0.5:
        image[:] = 255
    labels = []
    for row in range(4):
        for column in range(3):
            x, y = 16 + 32 * column + rng.randint(-4, 4), 12 + 24 * row + rng.randint(-4, 4)
            text = str(rng.randint(MIN_LENGTH, MAX_LENGTH)) if rng.random() < 0.75 else ""
            labels.append((text, x, y, 0))
    return image, _draw_labels(image, labels)


def _uniform(rng: random.Random, limit: float) -> float:
    """In [-limit, limit]. A limit of 0 draws nothing, so that plain figures are the same with and without styles."""
    return rng.uniform(-limit, limit) if limit else 0.0


def _draw_polygon(
    rng: random.Random, kind: str, color: str, line: str, style: Style
) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """The image without labels, and the corners (x, y) in pixels."""
    shape = SHAPES[kind]
    turn = _uniform(rng, style.max_turn)
    corners = []
    for k in range(shape.num_sides):
        angle = math.radians(shape.start_degrees + turn + 360 * k / shape.num_sides)
        x, y = (c + shape.radius * f(angle) for c, f in zip(shape.center, (math.cos, math.sin), strict=True))
        corners.append((x + rng.randint(-2, 2), y + rng.randint(-2, 2)))
    outline, fill = style.colors[color]
    canvas = Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), "white")
    draw = ImageDraw.Draw(canvas)
    draw.polygon(corners, fill=fill)
    if style.dash is None:
        draw.line([*corners, corners[0], corners[1]], fill=outline, width=style.lines[line], joint="curve")
    else:
        for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
            for dash in _dashes(start, end, style.dash):
                draw.line(dash, fill=outline, width=style.lines[line])
    return np.array(canvas), corners


def _dashes(start: tuple[float, float], end: tuple[float, float], length: int) -> list[list[tuple[float, float]]]:
    """Pieces of the line, about `length` pixels each, with as much room between them; half a dash at either end."""
    num = max(1, round(math.dist(start, end) / (2 * length)))
    edges = [0.0, *((j + half) / num for j in range(num) for half in (0.25, 0.75)), 1.0]
    points = [(start[0] + t * (end[0] - start[0]), start[1] + t * (end[1] - start[1])) for t in edges]
    return [points[j : j + 2] for j in range(0, len(points), 2)]


def _draw_labels(image: np.ndarray, labels: Sequence[tuple[str, float, float, int]]) -> tuple[Glyph, ...]:
    """Print (text, centre x, centre y, side) labels into `image`; all white boxes first, so that none cuts a digit.

    Every box has room for two digits.
    """
    width, height = 2 * GLYPH_ADVANCE - GLYPH_SCALE, GLYPH_HEIGHT * GLYPH_SCALE
    corners = []
    for _, center_x, center_y, _ in labels:
        x = round((center_x - width / 2) / LABEL_GRID) * LABEL_GRID
        y = round((center_y - height / 2) / LABEL_GRID) * LABEL_GRID
        x, y = min(max(x, 0), IMAGE_SIZE - width), min(max(y, 0), IMAGE_SIZE - height)
        corners.append((x, y))
        top, left = max(y - LABEL_MARGIN, 0), max(x - LABEL_MARGIN, 0)
        image[top : y + height + LABEL_MARGIN, left : x + width + LABEL_MARGIN] = 255
    glyphs = []
    for (text, _, _, side), (x, y) in zip(labels, corners, strict=True):
        absent = 2 - len(text)  # a single digit stands in the middle
        for place, digit in enumerate(text, start=absent):
            left = x + place * GLYPH_ADVANCE - absent * GLYPH_ADVANCE // 2
            image[y : y + height, left : left + GLYPH_WIDTH * GLYPH_SCALE][_GLYPHS[digit]] = 20
            center_x, center_y = left + GLYPH_WIDTH * GLYPH_SCALE / 2, y + height / 2
            glyphs.append(Glyph(int(digit), center_x, center_y, side, place))
    return tuple(glyphs)
