"""AI2D test: 3088 multiple-choice questions about diagrams of school science (arXiv:1603.07396).

Layouts: lmms-lab/ai2d (test; `answer` is the position of the option, from 0) and VLMEvalKit's AI2D_TEST.tsv.

Official protocol: VLMEvalKit's, see vlmevalkit.py, with a judge for what it does not find, if there is one.
"""

from verl_vaopd.answers.choice import LETTERS
from verl_vaopd.evaluation.benchmark import Fields, field
from verl_vaopd.evaluation.benchmarks.choices import ChoiceBenchmark
from verl_vaopd.evaluation.benchmarks.options import gold_letter, published_options


class AI2D(ChoiceBenchmark):
    """See the module."""

    name = "ai2d"
    title = "AI2D"
    paper_average = "Visual avg"
    hub_id = "lmms-lab/ai2d"
    tsv = "AI2D_TEST"
    splits = ("test",)

    def options(self, fields: Fields) -> dict[str, str]:
        """The list `options`, or columns A to D."""
        options = published_options(fields)
        if not options and not field(fields, "options"):
            raise ValueError("options: got none, expected a list; pass the row as published")
        return options

    def gold(self, fields: Fields) -> str:
        """The letter, or that of the position."""
        gold, options = str(field(fields, "answer")).strip(), self.options(fields)
        if gold.isdecimal() and int(gold) < len(options):
            return LETTERS[int(gold)]
        letter = gold_letter(gold, options)
        if letter in options:
            return letter
        raise ValueError(f"answer: got {gold!r}, expected one of {', '.join(options)}, or its position from 0")
