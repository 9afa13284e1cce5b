"""Answers in words, numbers or formulas, by the protocol `rule`."""

from collections.abc import Sequence

from verl_vaopd.evaluation.benchmark import Verdict
from verl_vaopd.evaluation.parsing.equality import answers_equal
from verl_vaopd.evaluation.parsing.normalise import join_thousands, normalise_maths
from verl_vaopd.evaluation.parsing.response import last_box, last_line, marked_answers, strip_thinking

_MAX_WORDS_UNMARKED = 4


def score_free_form(response: str, golds: Sequence[str], needs_box: bool = False) -> Verdict:
    """Whether the final answer equals one of the published ones.

    Args:
        response: as the model wrote it.
        golds: one of them is enough.
        needs_box: nothing but the last balanced box counts.
    """
    text = strip_thinking(response)
    readings = _boxed(text) if needs_box else _final(text)
    for reading in readings:
        if any(answers_equal(reading, gold) for gold in golds):
            return Verdict(spelling(reading), 1.0)
    return Verdict(spelling(readings[-1]) if readings else None, 0.0)


def _boxed(text: str) -> list[str]:
    box = last_box(text)
    return [box] if box and box.strip() else []


def _final(text: str) -> list[str]:
    """The readings of the most binding mark, else the last line, if it is short enough to be an answer by itself."""
    marked = marked_answers(text)
    if marked:
        return marked[0]
    line = last_line(text)
    return [line] if 0 < len(line.split()) <= _MAX_WORDS_UNMARKED else []


def spelling(answer: str) -> str:
    """One spelling of an answer, so that equal ones can be counted."""
    return join_thousands(normalise_maths(answer)).replace(" ", "")
