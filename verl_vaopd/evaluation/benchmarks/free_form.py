"""Answers in words, numbers or formulas, by the protocol `rule`."""

import re
from collections.abc import Sequence

from verl_vaopd.answers.closing import closing
from verl_vaopd.answers.equality import answers_equal
from verl_vaopd.answers.normalise import join_thousands, normalise_maths
from verl_vaopd.answers.response import final_text, last_line, marked_answers
from verl_vaopd.answers.statement import concluded_value
from verl_vaopd.evaluation.benchmark import Verdict

_MAX_WORDS_UNMARKED = 4
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_FORMULA = re.compile(r"[\d=\\^√π∞]")
_COPULA = re.compile(r"\b(?:is|are|equals)\b")


def score_free_form(response: str, golds: Sequence[str]) -> Verdict:
    """Whether the final answer equals one of the published ones.

    Args:
        response: as the model wrote it.
        golds: one of them is enough.
    """
    readings = _final(final_text(response))
    for reading in readings:
        if any(answers_equal(reading, gold) for gold in golds):
            return Verdict(spelling(reading), 1.0)
    return Verdict(spelling(readings[-1]) if readings else None, 0.0)


def _final(text: str) -> list[str]:
    """The readings of the most binding mark, else the last line and what it says that something is ("The slope is 4.").

    Of an unmarked line only what has few enough words to be an answer by itself.
    """
    marked = marked_answers(text)
    if marked:
        return marked[0]
    line = last_line(text)
    readings = dict.fromkeys([line, _COPULA.split(line)[-1].strip()])
    short = [reading for reading in readings if reading and len(_WORD.findall(reading)) <= _MAX_WORDS_UNMARKED]
    said = short or [concluded_value(text) or _concluded_formula(text)]
    return [reading for reading in said if reading]


def _concluded_formula(text: str) -> str | None:
    """What the concluding sentence says that something is, if that is a formula and little else."""
    end = closing(text)
    formula = _COPULA.split(end.conclusion or end.last)[-1].strip()
    is_formula = _FORMULA.search(formula) is not None and len(_WORD.findall(formula)) <= _MAX_WORDS_UNMARKED
    return formula if is_formula else None


def spelling(answer: str) -> str:
    """One spelling of an answer, so that equal ones can be counted."""
    return join_thousands(normalise_maths(answer)).replace(" ", "")
