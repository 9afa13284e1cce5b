"""Where a response has its answer: after the thinking, in a box, after a mark."""

import pytest

from verl_vaopd.answers.response import (
    answer_candidates,
    last_line,
    marked_answers,
    strip_thinking,
)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("no thoughts", "no thoughts"),
        ("<think>A</think>B", "B"),
        ("before <think>A</think>after", "before after"),
        ("<think>A</think>B<think>C</think>D", "BD"),
        ("<think>a <think>b</think> c</think>d", "d"),
        ("thought</think>B", "B"),
        ("<think>a</think>b</think>c", "c"),
        ("<think>cut off", ""),
        ("said <think>cut off", "said "),
        ("<think>A</think>B<think>cut off", "B"),
        ("<think>said twice <think>b</think>c", "c"),
        ("<THINK>A</Think>B", "B"),
        ("<thinking>A</thinking>B", "B"),
        ("<think></think>", ""),
        ("\\boxed{1}<think><think></think></think>", "\\boxed{1}"),
        ("x < think > y", "x < think > y"),
        ("", ""),
    ],
)
def test_strip_thinking(text, left):
    assert strip_thinking(text) == left


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ("Answer: 5", [["5"]]),
        ("The answer is 5.", [["5.", "5"]]),
        ("The answer is 5 cm. It is short.", [["5 cm. It is short.", "5 cm"]]),
        ("answer is (B) since it fits", [["(B) since it fits"]]),
        ("the answer is B, because", [["B, because", "B"]]),
        ("**Answer:** B", [["B"]]),
        ("<Thought process>: <<Answer: A>> <Answer>: <<B>>", [["<<B>>"]]),
        ("### Answer\n42", [["42"]]),
        ("Final answer\n\n42", [["42"]]),
        ("Answer: 4\nNo. Answer: 5\nDone", [["5"]]),
        ("the correct option is C", [["C"]]),
        ("答案：B", [["B"]]),
        ("<answer>B</answer>", [["B"]]),
        ("<answer>A</answer> or <answer>B</answer>", [["B"]]),
        ("<answer>B", [["B"]]),
        (r"Answer: 1 and \boxed{2}", [["2"], [r"1 and \boxed{2}"]]),
        ("It was answered: 5", []),
        ("No mark", []),
        ("Answer:", []),
        ("", []),
    ],
)
def test_marked_answers_the_most_binding_first(text, answers):
    found = [list(dict.fromkeys(readings)) for readings in marked_answers(text)]
    assert found == answers


def test_a_short_last_line_is_a_candidate_and_a_long_one_is_none():
    assert answer_candidates("First\n\nB  \n") == ["B"]
    assert last_line("x" * 61) == ""
    assert last_line("a\n" + "x" * 60) == "x" * 60
