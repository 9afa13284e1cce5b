"""The option that a sentence settles on."""

import pytest

from verl_vaopd.answers.option_in_sentence import Named, option_in_sentence

OPTIONS = {"A": "gothic", "B": "baroque style", "C": "30°", "D": "60°"}
POINTS = {"A": "A", "B": "B", "C": "C"}


@pytest.mark.parametrize(
    ("sentence", "options", "letter", "by_letter"),
    [
        ("The load is best represented by option **B**.", OPTIONS, "B", True),
        ("The church is (B) baroque style.", OPTIONS, "B", True),
        ("This agrees with option B. baroque style.", OPTIONS, "B", True),
        ("I would choose B.", OPTIONS, "B", True),
        ("Option (B) is the closest one.", OPTIONS, "B", True),
        ("The choice that matches this is B.", OPTIONS, "B", True),
        ("所以应选择选项B。", OPTIONS, "B", True),
        ("The style is Baroque Style, I think", OPTIONS, "B", False),
        ("So the angle is 60 degrees.", OPTIONS, "D", False),
        ("The point is indicated by A.", POINTS, "A", True),
        # An option's own words deny nothing.
        ("The false statement is (A) it does not rain.", {"A": "It does not rain", "B": "It rains"}, "A", True),
        ("The interval is the second, (A) 6,7, on the axis.", {"A": "6,7", "B": "6,8"}, "A", True),
    ],
)
def test_a_sentence_names_an_option(sentence, options, letter, by_letter):
    assert option_in_sentence(sentence, options) == Named(letter, by_letter)


@pytest.mark.parametrize(
    "sentence",
    [
        "The style is gothic or baroque style.",
        "It is (A) baroque style.",
        "The angle is (C) 60°.",
        "It is not gothic.",
        "Option B is not it.",
        "Option (B) baroque style is wrong.",
        "Option E is best.",
        "Option (B) is the same as the picture.",
        "Both (A) and (B) are possible.",
        "The first is (B)",  # more was to come
        "The vertex of the angle is B.",
        "The angle is 45°.",
        "Is it option B?",
        "We find the third square (A) by subtraction.",
        "",
    ],
)
def test_a_sentence_names_none(sentence):
    assert option_in_sentence(sentence, OPTIONS) is None


def test_what_a_later_sentence_tells_about_is_no_choice():
    assert option_in_sentence("The baroque style is rich.", OPTIONS, explains=True) is None
    assert option_in_sentence("It is of baroque style.", OPTIONS, explains=True) == Named("B", by_letter=False)
