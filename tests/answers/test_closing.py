"""The sentences in which a response without a mark may state its answer."""

import pytest

from verl_vaopd.answers.closing import closing, is_item, sentences, strip_courtesies, strip_end_tokens


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("A line\nanother\n\n```\n35\n```\n", ["A line", "another", "35"]),
        ("The answer B. 11 kN is it. Next.", ["The answer B. 11 kN is it.", "Next."]),
        ("See Fig. 2 for it. It is 2.5 m.", ["See Fig. 2 for it.", "It is 2.5 m."]),
        ("1. First\n2. Second", ["1. First", "2. Second"]),
        ("所以是B。因为如此！", ["所以是B。", "因为如此！"]),
        ("...\n---\n", []),
        ("", []),
    ],
)
def test_sentences(text, parts):
    assert sentences(text) == parts


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("So 14.\n\nI hope this helps! Let me know if you have any questions.", "So 14."),
        ("So 14. Do you want to try another one?", "So 14."),
        ("B\n\nFeel free to ask.", "B"),
        ("I hope this helps!", "I hope this helps!"),  # all of it: nothing would be left
        ("I hope so. It is 14.", "I hope so. It is 14."),
    ],
)
def test_courtesies_at_the_end_go(text, left):
    assert strip_courtesies(text) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("B<|im_end|>", "B"),
        ("B<|im_end|>\n<|endoftext|>", "B"),
        ("14</s> ", "14"),
        ("</s> is no end here", "</s> is no end here"),
        ("B", "B"),
    ],
)
def test_end_tokens_at_the_end_go(text, left):
    assert strip_end_tokens(text) == left


def test_many_end_tokens_take_no_time():
    assert strip_end_tokens("B" + "</s>" * 50_000) == "B"


def test_the_closing_of_a_derivation():
    end = closing("There are 17 mugs. Three break. Therefore, 14 are left. They are blue.")
    assert (end.last, end.conclusion) == ("They are blue.", "Therefore, 14 are left.")
    assert end.first == "There are 17 mugs."
    assert closing("x = 3. So it is 3. But that is wrong.").conclusion == ""


@pytest.mark.parametrize(
    ("text", "first", "is_direct"),
    [
        ("Sure! It is (B). That is why.", "It is (B).", True),
        ("It is (B). However, it may be (C).", "It is (B).", False),
        ("It is (B). Wait, I was wrong.", "", True),
        ("Given: a. One. Two. Three. Four.", "Given: a.", False),
        ("**14** it is. One. Two. Three. Four.", "**14** it is.", True),
    ],
)
def test_a_first_sentence_is_a_direct_answer_if_nothing_takes_it_back(text, first, is_direct):
    end = closing(text)
    assert end.first == first
    assert not first or end.first_is_direct is is_direct


def test_items_and_rows_conclude_nothing():
    assert all(map(is_item, ["* blue: 2", "- one cube", "3. Multiply them.", "2019 | 7.84"]))
    assert not any(map(is_item, ["So 3.", "-3 is it", "**14**"]))
