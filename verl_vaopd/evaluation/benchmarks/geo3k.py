"""Geometry3K test: 601 geometry problems, asked as open questions (arXiv:2105.04165).

Layout: hiyouga/geometry3k (test). The prompt ends as in training, and the rule is that of its reward
(answers/free_form.py).
"""

from dataclasses import dataclass

from verl_vaopd.answers.free_form import boxed_answer, same_answer
from verl_vaopd.evaluation.benchmark import Benchmark, Fields, Verdict, field
from verl_vaopd.evaluation.benchmarks.free_form import spelling
from verl_vaopd.evaluation.benchmarks.interleave import at_marks


@dataclass(frozen=True)
class Geo3K(Benchmark):
    """See the module.

    Args:
        prompt_suffix: appended to the problem, as dataset.prompt_suffix is in training; None: the default of that.
    """

    prompt_suffix: str | None = None

    name = "geo3k"
    title = "Geo3K"
    hub_id = "hiyouga/geometry3k"
    splits = ("test",)
    id_fields = ("id",)
    protocols = ("rule",)
    place_images = staticmethod(at_marks)

    def prompt(self, fields: Fields) -> str:
        """The problem, with its marks `<image>`, and the suffix."""
        from verl_vaopd.config.data_schema import DatasetConfig  # scoring imports nothing heavy

        suffix = DatasetConfig.prompt_suffix if self.prompt_suffix is None else self.prompt_suffix
        return str(field(fields, "problem")) + suffix

    def rule(self, fields: Fields, response: str) -> Verdict:
        """The value in the last box, as in training."""
        answer = boxed_answer(response)
        if answer is None:
            return Verdict(None, 0.0)
        is_right = same_answer(answer, str(field(fields, "answer")), str(field(fields, "problem")))
        return Verdict(spelling(answer), float(is_right))
