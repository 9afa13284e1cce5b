"""The out-of-domain variant of the tinygeo world: another drawing style, other questions, other numbers.

Nothing of it is ever trained on. It asks for the same skill, so that it measures how far the skill carries: the tiny
models still answer part of it. Figures are turned, dashed and of other shades, with labels off the middle of the sides;
every figure shows exactly one length of a single digit, which no other split does; questions are worded as in no other
split, though of words that the models know (their tokenizer is made from the plain wording).
"""

import random

from verl_vaopd.data.tinygeo.figures import KINDS, MAX_LENGTH, MIN_LENGTH, SHAPES, Figure, Style, draw_figure

MAX_SHORT_LENGTH = MIN_LENGTH - 1

STYLE = Style(
    colors={
        "red": ((130, 10, 10), (240, 150, 150)),
        "blue": ((20, 40, 130), (150, 175, 240)),
        "green": ((10, 90, 30), (150, 220, 160)),
        "yellow": ((115, 90, 5), (245, 220, 100)),
        "purple": ((85, 20, 120), (205, 160, 235)),
    },
    lines={"thin": 2, "thick": 6},
    dash=5,
    max_turn=8.0,
    max_shift=0.05,
)


def is_out_of_domain(lengths: tuple[int, ...]) -> bool:
    """Whether a figure with these lengths belongs to this variant and to no other split."""
    return min(lengths) <= MAX_SHORT_LENGTH


def sample_figure(rng: random.Random) -> Figure:
    """A figure in the other style; all lengths different, exactly one of them below MIN_LENGTH."""
    kind = rng.choice(KINDS)
    lengths = rng.sample(range(MIN_LENGTH, MAX_LENGTH + 1), SHAPES[kind].num_sides - 1)
    lengths.insert(rng.randrange(len(lengths) + 1), rng.randint(1, MAX_SHORT_LENGTH))
    return draw_figure(rng, kind, tuple(lengths), STYLE)
