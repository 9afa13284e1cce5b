import pytest

from verl_vaopd.evaluation.benchmarks import BENCHMARKS
from verl_vaopd.evaluation.benchmarks.options import gold_doubt, gold_letter, published_options

TWO = {"A": "red", "B": "blue"}


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"options": ["red", "blue"]}, TWO),
        ({"options": "['red', 'blue']"}, TWO),
        ({"options": '["red", "blue"]'}, TWO),
        ({"options": {"A": "red", "B": "blue", "C": None}}, TWO),
        ({"options": {"b": "blue", "a": "red"}}, TWO),
        ({"options": "{'A': 'red', 'B': 'blue'}"}, TWO),
        ({"options": '{"A": "red", "B": "blue", "C": null}'}, TWO),
        ({"options": "A. red; B. blue"}, TWO),
        ({"options": ["A. red", "B. blue"]}, TWO),
        ({"choices": ["(A) red", "(B) blue"]}, TWO),
        ({"options": "[['red', 'blue']]"}, TWO),  # as one row of MMMU-Pro
        ({"index2ans": {"A": "red", "B": "blue"}, "all_choices": ["A", "B"]}, TWO),
        ({"A": "red", "B": "blue", "C": ""}, TWO),
        ({"options": ["A", "B. x"]}, {"A": "A", "B": "B. x"}),
        ({"options": [1, 2.5]}, {"A": "1", "B": "2.5"}),
        ({"options": list("abcdefghijkl")}, dict(zip("ABCDEFGHIJKL", "abcdefghijkl", strict=True))),
        ({"options": "[]"}, {}),
        ({"options": None, "question": "q"}, {}),
    ],
)
def test_options_in_all_their_forms(fields, options):
    assert published_options(fields) == options


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"options": {"1": "red", "2": "blue"}}, "options: got .*, expected a list of up to 26 texts, or an object by"),
        ({"options": [{"label": "A"}]}, "options: got "),
        ({"choices": "red or blue"}, "choices: got 'red or blue', expected a list"),
        ({"options": "['red', 'bl"}, r"options: got \"\['red', 'bl\""),
        ({"options": ["x"] * 27}, "options: got "),
        ({"all_choices": ["A", "B"]}, "all_choices: got .*letters without their texts; expected `index2ans`"),
    ],
)
def test_options_that_are_none(fields, message):
    with pytest.raises(ValueError, match=message):
        published_options(fields)


@pytest.mark.parametrize(
    ("answer", "letter"),
    [("B", "B"), ("b", "B"), (" b\n", "B"), ("(b)", "B"), ("B.", "B"), ("blue", "B"), ("C", "C"), ("Blue", "Blue")],
)
def test_the_letter_of_an_answer(answer, letter):
    assert gold_letter(answer, TWO) == letter
    assert (gold_doubt(answer, TWO) is None) == (letter in TWO)


def test_a_small_letter_that_is_an_options_text():
    assert gold_letter("b", {"A": "b", "B": "a"}) == "A"


LAYOUTS = {
    "mmmu": {"id": "validation_Art_1", "index2ans": TWO, "all_choices": ["A", "B"], "question_type": "multiple-choice"},
    "mmstar": {"question": "Which?\nOptions: A: red, B: blue", "category": "math"},
    "wemath": {"ID": "1", "key": "2steps_1", "option": "A. red; B. blue"},
    "ai2d": {"question": "Which?", "options": {"A": "red", "B": "blue"}},
    "custom": {"question": "Which?", "options": {"a": "red", "b": "blue"}},
    "mathvista": {
        **{"question": "Which?", "choices": ["red", "blue"], "question_type": "multi_choice", "answer_type": "text"},
    },
}


@pytest.mark.parametrize("protocol", ["rule", "official"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_benchmark_takes_a_small_letter(name, protocol):
    benchmark = BENCHMARKS[name]
    if protocol not in benchmark.protocols:
        return
    fields = {**LAYOUTS[name], "answer": "b"}
    right, wrong = ("blue", "red") if name == "mathvista" else ("Answer: B", "Answer: A")
    assert [benchmark.score(fields, text, protocol).hit for text in (right, wrong)] == [1.0, 0.0]


def test_a_choice_without_options_is_no_open_question():
    with pytest.raises(ValueError, match="options: got none for a question of type multiple-choice"):
        BENCHMARKS["mmmu"].score({"answer": "B", "question_type": "multiple-choice"}, "B", "rule")
