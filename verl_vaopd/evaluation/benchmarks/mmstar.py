"""MMStar: 1500 multiple-choice questions that need their image, 250 for each of six capabilities (arXiv:2403.20330).

Layouts: Lin-Chen/MMStar (val; the options stand in the question) and VLMEvalKit's MMStar.tsv.

Official protocol: VLMEvalKit's, see vlmevalkit.py, with a judge for what it does not find, if there is one. (The
script in MMStar's own repository, from before VLMEvalKit took the benchmark up, credits a letter only where the
response begins with it, or with "(", "option " or "the answer is " and it.)
"""

from collections.abc import Mapping, Sequence
from typing import Any

from verl_vaopd.answers.choice import LETTERS, options_in_text
from verl_vaopd.evaluation.benchmark import Fields, field
from verl_vaopd.evaluation.benchmarks.choices import ChoiceBenchmark, choice_prompt
from verl_vaopd.evaluation.benchmarks.options import gold_doubt, gold_letter, published_options
from verl_vaopd.evaluation.shares import accuracy, accuracy_by

_NUM_OPTIONS = 4


class MMStar(ChoiceBenchmark):
    """See the module."""

    name = "mmstar"
    title = "MMStar"
    paper_average = "Visual avg"
    hub_id = "Lin-Chen/MMStar"
    tsv = "MMStar"
    splits = ("val", "mmstar")

    def prompt(self, fields: Fields) -> str:
        """The question as published, which lists its options, or VLMEvalKit's prompt for its own layout."""
        question, options = str(field(fields, "question")), published_options(fields)
        return choice_prompt(question, options) if options else question

    def options(self, fields: Fields) -> dict[str, str]:
        """Columns A to D, or those that the question lists; four without text if it lists none."""
        options = published_options(fields) or options_in_text(str(field(fields, "question")))
        return options or dict.fromkeys(LETTERS[:_NUM_OPTIONS], "")

    def gold(self, fields: Fields) -> str:
        """The published letter."""
        return gold_letter(field(fields, "answer"), self.options(fields))

    def doubt(self, fields: Fields) -> str | None:
        """A letter that is none of the options'."""
        return gold_doubt(field(fields, "answer"), self.options(fields))

    def metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Accuracy, and of each capability."""
        return {"accuracy": accuracy(rows), **accuracy_by(rows, lambda row: str(field(row, "category")))}
