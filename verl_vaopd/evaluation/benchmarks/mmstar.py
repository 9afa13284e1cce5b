"""MMStar: 1500 multiple-choice questions that need their image, 250 for each of six capabilities (arXiv:2403.20330).

Layouts: Lin-Chen/MMStar (val; the options stand in the question) and VLMEvalKit's MMStar.tsv.

Official protocol: VLMEvalKit's, see parsing.vlmevalkit, with a judge for what it does not find, if there is one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from verl_vaopd.evaluation.benchmark import Benchmark, Fields, Judge, Verdict, accuracy, accuracy_by, field
from verl_vaopd.evaluation.benchmarks.choices import (
    choice_prompt,
    fallback_rng,
    option_columns,
    score_by_rule,
    score_like_vlmevalkit,
)
from verl_vaopd.evaluation.parsing.choice import LETTERS, options_in_text

_NUM_OPTIONS = 4


@dataclass(frozen=True)
class MMStar(Benchmark):
    """See the module.

    Args:
        random_fallback: guess where the judge names no option, as VLMEvalKit does; else the response stays unscored.
    """

    random_fallback: bool = False

    name = "mmstar"
    splits = ("val", "mmstar")

    def prompt(self, fields: Fields) -> str:
        """The question as published, which lists its options, or VLMEvalKit's prompt for its own layout."""
        question, options = str(field(fields, "question")), option_columns(fields)
        return choice_prompt(question, options) if options else question

    def rule(self, fields: Fields, response: str) -> Verdict:
        """The letter of the final answer."""
        return score_by_rule(response, _options(fields), _gold(fields))

    def official(self, fields: Fields, response: str, judge: Judge | None, seed: int) -> Verdict:
        """See the module."""
        question = str(field(fields, "question"))
        rng = fallback_rng(seed, question, response) if self.random_fallback else None
        return score_like_vlmevalkit(response, _options(fields), _gold(fields), question, judge, rng)

    def metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Accuracy, and of each capability."""
        return {"accuracy": accuracy(rows), **accuracy_by(rows, lambda row: str(field(row, "category")))}


def _options(fields: Fields) -> dict[str, str]:
    options = option_columns(fields) or options_in_text(str(field(fields, "question")))
    return options or dict.fromkeys(LETTERS[:_NUM_OPTIONS], "")


def _gold(fields: Fields) -> str:
    return str(field(fields, "answer")).strip()
