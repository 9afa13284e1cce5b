r"""Whether a response to a free-form question is right: the rule of geo3k and virl39k, for reward and evaluation.

Only the last balanced box after the thinking counts. What it must hold depends on the published answer:

45, 3\sqrt{2}, (1, 2), x + 1    an equal value (equality.py)
B                               the option: its letter, or the text that the question lists for it (choice.py)
Yes                             the word (yes_no.py)
isosceles                       the word, whatever its case and markup
"""

import re

from verl_vaopd.answers.choice import LETTERS, options_in_text, parse_choice
from verl_vaopd.answers.equality import answers_equal
from verl_vaopd.answers.normalise import normalise_maths, normalise_text
from verl_vaopd.answers.response import final_text
from verl_vaopd.answers.rewards import extract_boxed
from verl_vaopd.answers.yes_no import parse_yes_no

_LETTER = re.compile(r"\(?([A-J])\)?")


def is_right(response: str, gold: str, question: str = "") -> bool:
    """Whether the last box of a response holds the published answer.

    Args:
        response: as the model wrote it, thinking included.
        gold: as published, without a box.
        question: its text, which may list options.
    """
    answer = boxed_answer(response)
    return answer is not None and same_answer(answer, gold, question)


def boxed_answer(response: str) -> str | None:
    """The content of the last balanced box after the thinking; None if there is none, or nothing in it."""
    box = extract_boxed(final_text(response))
    return box if box and box.strip() else None


def same_answer(answer: str, gold: str, question: str = "") -> bool:
    """Whether the content of a box is the published answer; the arguments are those of is_right."""
    options = options_in_text(question)
    letter = _LETTER.fullmatch(normalise_maths(gold))
    if letter:
        return parse_choice(answer, options if letter[1] in options else dict.fromkeys(LETTERS, "")) == letter[1]
    if normalise_text(gold) in ("yes", "no"):
        return parse_yes_no(answer) == normalise_text(gold).capitalize()
    if answers_equal(answer, gold):
        return True
    chosen = parse_choice(answer, options)
    return chosen is not None and answers_equal(options[chosen], gold)
