"""Yes or no by the protocol `rule`."""

import pytest

from verl_vaopd.answers.yes_no import said_yes_or_no

YES = [
    "Yes",
    "YES!",
    "Yes.",
    " Yes\n",
    "**Yes**",
    '"Yes."',
    "Yes, there is no doubt.",
    "Yes: no line is longer.",
    "Yes — no line is longer.",
    "Yes\nNo line is longer.\nThey only look so, as this long last line with more than sixty characters says",
    "The answer is yes.",
    "The answer is: Yes, not no.",
    "No? No! At first I thought no.\n\nAnswer: Yes",
    "\\boxed{\\text{Yes}}",
    "\\boxed{no} \\boxed{yes}",
    "No line is longer.\nAnswer: yes",
    "<answer>yes</answer>",
    "<think>no</think>yes",
    "no, wait</think>Yes.",
    "Ｙｅｓ",
    "There is no other line.\nYes.",
]
NO = [
    "No",
    "no.",
    "No, yes would be wrong.",
    "There is no cat.",
    "They are not; so no.",
    "The answer is no, because yes would mean more.",
    "Answer: **No**",
    "<think>Yes. Yes! \\boxed{yes}</think>No",
    "<think>yes</think>\\boxed{\\mathrm{no}}",
    "Yes at first sight.\n\nFinal answer: No",
]
NEITHER = [
    "Oslo: No.\nRome: Yes.\nBonn: Yes.",
    "",
    "I cannot tell.",
    "know",
    "yesterday",
    "nothing",
    "Yes and no",
    "No cat? Yes.",
    "<think>Yes",
    "<think>Yes</think>",
    "\\boxed{unclear}",
    "是",
]


@pytest.mark.parametrize(
    ("response", "said"),
    [(text, said) for said, texts in (("Yes", YES), ("No", NO), (None, NEITHER)) for text in texts],
)
def test_said_yes_or_no(response, said):
    assert said_yes_or_no(response) == said


@pytest.mark.parametrize(
    ("question", "response", "said"),
    [
        ("Is the cat black?", "The cat is black.", "Yes"),
        ("Is the cat black?", "Based on the image, the cat is not black. It is grey.", "No"),
        ("Does the cat have a tail?", "The cat has a tail, as one can see.", "Yes"),
        ("Does the cat have a tail?", "The cat doesn't have a tail.", "No"),
        ("Is the cat black?", "The cat is dark.", None),
        ("Is the cat black?", "The dog is black.", None),
        ("Are there more cats than dogs?", "There are more dogs than cats.", None),
        ("Is the cat not black?", "The cat is not black.", None),  # whatever that means
        ("Is the cat black?", "The cat is black. Answer: unclear", None),  # what is marked counts
    ],
)
def test_the_words_of_the_question_are_an_answer(question, response, said):
    assert said_yes_or_no(response, question) == said


def test_enough_cases():
    assert len(YES) + len(NO) + len(NEITHER) >= 40
