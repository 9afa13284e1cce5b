"""AI2D test: 3088 multiple-choice questions about diagrams of school science (arXiv:1603.07396).

Layouts: lmms-lab/ai2d (test; `answer` is the position of the option, from 0) and VLMEvalKit's AI2D_TEST.tsv.

Official protocol: VLMEvalKit's, see parsing.vlmevalkit, with a judge for what it does not find, if there is one.
"""

from dataclasses import dataclass

from verl_vaopd.evaluation.benchmark import Benchmark, Fields, Judge, Verdict, field
from verl_vaopd.evaluation.benchmarks.choices import (
    choice_prompt,
    fallback_rng,
    option_columns,
    score_by_rule,
    score_like_vlmevalkit,
)
from verl_vaopd.evaluation.parsing.choice import LETTERS, letters_of
from verl_vaopd.evaluation.parsing.published import as_list


@dataclass(frozen=True)
class AI2D(Benchmark):
    """See the module.

    Args:
        random_fallback: guess where the judge names no option, as VLMEvalKit does; else the response stays unscored.
    """

    random_fallback: bool = False

    name = "ai2d"
    splits = ("test",)

    def prompt(self, fields: Fields) -> str:
        """VLMEvalKit's."""
        return choice_prompt(str(field(fields, "question")), _options(fields))

    def rule(self, fields: Fields, response: str) -> Verdict:
        """The letter of the final answer."""
        return score_by_rule(response, _options(fields), _gold(fields))

    def official(self, fields: Fields, response: str, judge: Judge | None, seed: int) -> Verdict:
        """See the module."""
        question = str(field(fields, "question"))
        rng = fallback_rng(seed, question, response) if self.random_fallback else None
        return score_like_vlmevalkit(response, _options(fields), _gold(fields), question, judge, rng)


def _options(fields: Fields) -> dict[str, str]:
    return option_columns(fields) or letters_of(as_list(field(fields, "options")))


def _gold(fields: Fields) -> str:
    gold = str(field(fields, "answer")).strip()
    letters = list(_options(fields))
    if gold in letters:
        return gold
    if gold.isdecimal() and int(gold) < len(letters):
        return LETTERS[int(gold)]
    raise ValueError(f"answer: got {gold!r}, expected one of {', '.join(letters)}, or its position from 0")
