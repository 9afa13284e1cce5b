"""Questions of the user's own, scored by the protocol `rule`.

A file of any kind that published.py reads. Each row has `question` and `answer`; if wanted `images` (paths from the
file's directory, or the images themselves), marked by `<image>` in the question or else put before it; `options` for
multiple choice (a list, or an object by letter), of which `answer` is the letter or the text; `id`; and `cluster`, for
questions that are not independent of each other. `answer` may be a list: one of it is enough.
"""

from verl_vaopd.evaluation.benchmark import Benchmark, Fields, Verdict, field
from verl_vaopd.evaluation.benchmarks.choices import choice_prompt, score_by_rule
from verl_vaopd.evaluation.benchmarks.free_form import score_free_form
from verl_vaopd.evaluation.benchmarks.interleave import at_marks
from verl_vaopd.evaluation.benchmarks.options import gold_letter, published_options
from verl_vaopd.evaluation.formats.values import as_list


class Custom(Benchmark):
    """See the module."""

    name = "custom"
    title = "Custom"
    splits = ("test",)
    id_fields = ("id",)
    cluster_fields = ("cluster",)
    may_be_text = True
    protocols = ("rule",)
    place_images = staticmethod(at_marks)

    def prompt(self, fields: Fields) -> str:
        """The question as it is, or with its options as VLMEvalKit asks."""
        question, options = str(field(fields, "question")), published_options(fields)
        return choice_prompt(question, options) if options else question

    def rule(self, fields: Fields, response: str) -> Verdict:
        """The option, or a value equal to an answer."""
        options, golds = published_options(fields), [str(gold) for gold in as_list(field(fields, "answer"))]
        if not options:
            return score_free_form(response, golds)
        letters = {gold_letter(gold, options) for gold in golds} & options.keys()
        letters |= {letter for letter, text in options.items() if text in golds}
        if len(letters) != 1:
            raise ValueError(f"answer: got {golds}, expected the letter or the text of one of the options {options}")
        return score_by_rule(response, options, letters.pop())
