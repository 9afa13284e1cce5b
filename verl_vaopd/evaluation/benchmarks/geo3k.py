"""Geometry3K test: 601 geometry problems, asked as open questions (arXiv:2105.04165).

Layout: hiyouga/geometry3k (test). The prompt ends as in training; only the last balanced box counts, as there.
"""

from dataclasses import dataclass

from verl_vaopd.evaluation.benchmark import Benchmark, Fields, Verdict, field
from verl_vaopd.evaluation.benchmarks.free_form import score_free_form
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
        """The value in the last box."""
        return score_free_form(response, [str(field(fields, "answer"))], needs_box=True)
