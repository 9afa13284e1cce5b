"""AI2D test: 3088 multiple-choice questions about diagrams of school science (arXiv:1603.07396).

Layouts: lmms-lab/ai2d (test; `answer` is the position of the option, from 0) and VLMEvalKit's AI2D_TEST.tsv.

Official protocol: VLMEvalKit's, see vlmevalkit.py, with a judge for what it does not find, if there is one.
"""

from verl_vaopd.answers.choice import LETTERS, letters_of
from verl_vaopd.evaluation.benchmark import Fields, field
from verl_vaopd.evaluation.benchmarks.choices import ChoiceBenchmark, option_columns
from verl_vaopd.evaluation.published import as_list


class AI2D(ChoiceBenchmark):
    """See the module."""

    name = "ai2d"
    title = "AI2D"
    paper_average = "Visual avg"
    hub_id = "lmms-lab/ai2d"
    tsv = "AI2D_TEST"
    splits = ("test",)

    def options(self, fields: Fields) -> dict[str, str]:
        """Columns A to D, or the list `options`."""
        return option_columns(fields) or letters_of(as_list(field(fields, "options")))

    def gold(self, fields: Fields) -> str:
        """The letter, or that of the position."""
        gold = str(field(fields, "answer")).strip()
        letters = list(self.options(fields))
        if gold in letters:
            return gold
        if gold.isdecimal() and int(gold) < len(letters):
            return LETTERS[int(gold)]
        raise ValueError(f"answer: got {gold!r}, expected one of {', '.join(letters)}, or its position from 0")
