"""What counts as the same picture, the same question, the same row."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.data.leaking import altered, encoded, figure
from verl_vaopd.data.leaks import collecting, neighbours
from verl_vaopd.data.leaks.collecting import Item, collect
from verl_vaopd.data.leaks.matches import Search
from verl_vaopd.data.leaks.neighbours import near_pictures, near_questions
from verl_vaopd.data.leaks.pictures import MAX_DISTANCE, MAX_STRETCH, Picture, picture_of
from verl_vaopd.data.leaks.questions import asked, similarity

GIVEN = "In triangle ABC, AB = 12 and BC = 35. Find AC."


def match(left: list[Item], right: list[Item]):
    """[(row, other, kind)] of what `right` has of `left`."""
    one, other = collect("one", left, None), collect("other", right, None)
    found = Search([one, other]).matches(one, other)
    return [(each.row, each.other, each.kind, each.same_pixels) for each in found]


def test_altered_copies_are_near_and_other_figures_are_not():
    originals = [picture_of(encoded(figure(seed))) for seed in range(20)]
    assert near_pictures(originals) == {}
    for seed in range(3):
        for name, data in altered(figure(seed)).items():
            copy = picture_of(data)
            near = near_pictures([*originals, copy])
            assert [other for other, _ in near.get(len(originals), ())] == [seed], name


def test_the_same_pixels_in_another_file_format():
    assert picture_of(encoded(figure(1))) == picture_of(encoded(figure(1), "BMP"))
    assert picture_of(encoded(figure(1))).pixels != picture_of(encoded(figure(2))).pixels


@pytest.mark.parametrize("shape", ["rectangle", "ellipse"])
def test_symmetric_figures_have_no_noise_in_their_hash(shape):
    """Their cosine transform is zero in three terms of four, whose signs must not be left to rounding."""
    image = Image.new("RGB", (300, 300), "white")
    getattr(ImageDraw.Draw(image), shape)((50, 50, 250, 250), outline="black", width=3)
    pictures = [picture_of(encoded(image)), picture_of(encoded(image.resize((217, 217))))]
    assert [other for other, _ in near_pictures(pictures)[0]] == [1]


def test_pictures_of_one_colour_are_near_none():
    blank = [picture_of(encoded(Image.new("RGB", size, "white"))) for size in ((50, 40), (60, 48))]
    assert near_pictures(blank) == {}
    items = [Item("a", "Find x.", (encoded(Image.new("RGB", (50, 40), "white")),))]
    assert match(items, items[:]) == []


def test_pairs_are_those_of_a_loop(monkeypatch):
    """Across blocks, in any order of shapes, at the limits of both distances."""
    monkeypatch.setattr(neighbours, "_ROWS", 3)
    monkeypatch.setattr(neighbours, "_COLUMNS", 5)
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2, 256)
    bits = [base ^ (np.arange(256) < count) for count in (0, MAX_DISTANCE, MAX_DISTANCE + 1, 3, 90)]
    bits = [each for each in bits for _ in range(6)]
    stretches = rng.choice([0.0, MAX_STRETCH, 2.5 * MAX_STRETCH], len(bits))
    pictures = [
        Picture(bytes([number]), np.packbits(each).tobytes(), float(stretch))
        for number, (each, stretch) in enumerate(zip(bits, stretches, strict=True))
    ]
    expected = {
        number: {
            other: int((bits[number] != bits[other]).sum())
            for other in range(len(bits))
            if other != number
            and (bits[number] != bits[other]).sum() <= MAX_DISTANCE
            and abs(stretches[number] - stretches[other]) <= MAX_STRETCH
        }
        for number in range(len(bits))
    }
    found = near_pictures(pictures)
    assert {number: dict(found.get(number, ())) for number in range(len(bits))} == expected
    monkeypatch.setattr(neighbours, "MAX_PAIRS", 10)
    with pytest.raises(ValueError, match="more than 10 pairs that look nearly the same among 30"):
        near_pictures(pictures)


@pytest.mark.parametrize(
    "other",
    [
        r"<image>In $\triangle ABC$, $AB=12$ and $BC = 35.0$.  Find $A C$",
        "Hint: Please answer with an integer.\nQuestion: In △ABC, AB = 12 and BC = 35. Find AC.\nChoices:\n(A) 36",
    ],
)
def test_questions_that_differ_in_layout(other):
    assert asked(other) == asked(GIVEN)


def test_nearly_the_same_questions_have_the_same_numbers():
    reworded = asked("In the triangle ABC, AB = 12 and BC = 35. Find AC.")
    assert 90 <= (similarity(asked(GIVEN), reworded) or math.nan) < 100
    assert similarity(asked(GIVEN), asked(GIVEN.replace("35", "16"))) is None
    found = near_questions([asked(GIVEN), reworded, asked(GIVEN.replace("35", "16"))])
    assert {number: [other for other, _ in others] for number, others in found.items()} == {0: [1], 1: [0]}


@pytest.mark.parametrize(
    ("question", "specific"),
    [
        ("Find x.", False),
        (r"Find $m \angle 1$.", False),
        ("Find y so that the quadrilateral is a parallelogram.", False),
        ("As shown in the diagram, what is the volume of the cone in cm³? (Take π as 3.14)", False),
        (GIVEN, True),
        (
            "Two circles touch each other from inside, and a chord of the larger one touches the smaller one in the "
            * 2,
            True,
        ),
    ],
)
def test_which_questions_are_specific(question, specific):
    assert asked(question).is_specific is specific


def test_what_rows_have_in_common():
    one, other, third = (encoded(figure(seed)) for seed in (1, 2, 3))
    smaller = altered(figure(1))["smaller"]
    right = [
        Item("0", "Find x.", (one,)),
        Item("1", GIVEN, (other,)),
        Item("2", "What is 6 x 7?", ()),
        Item("3", "Find the area of the figure.", (), 1),
    ]
    left = [
        Item("0", "Find x.", (third, smaller)),  # one of its pictures, and its question
        Item("1", "Find y.", (one,)),
        Item("2", GIVEN, (third,)),
        Item("3", "Find x.", (third,)),  # a question of many
        Item("4", "What is 6 x 7?", ()),
        Item("5", "Find the area of the figure.", ()),  # there the picture is only missing
    ]
    assert match(left, right) == [
        (0, 0, "image+question", False),
        (1, 0, "image", True),
        (2, 1, "question", False),
        (4, 2, "question", False),
    ]


def test_within_a_collection_the_later_row_is_listed():
    rows = collect("train", [Item(str(number), "Find x.", (encoded(figure(number % 2)),)) for number in range(3)], 3)
    (found,) = Search([rows]).matches(rows, rows)
    assert (found.row, found.other, found.kind, found.same_pixels) == (2, 0, "image+question", True)


def test_in_several_processes_order_is_kept(monkeypatch):
    monkeypatch.setattr(collecting, "_BATCH_ITEMS", 100)
    items = [Item(str(number), f"What is {number} x 17?", ()) for number in range(300)]
    kept = collect("train", iter(items), len(items))
    assert [row.id for row in kept.rows] == [item.id for item in items]
    assert kept.rows[299].question == asked("What is 299 x 17?")
