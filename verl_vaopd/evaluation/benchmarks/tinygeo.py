"""The embedded world's test split, scored as in training (answers/rewards.py).

Layout: test.parquet as data/tinygeo writes it, or another one of its splits.
"""

from typing import Any

from verl_vaopd.answers.response import strip_thinking
from verl_vaopd.answers.rewards import exact_match, extract_boxed
from verl_vaopd.evaluation.benchmark import Benchmark, Fields, Verdict, field
from verl_vaopd.evaluation.benchmarks.interleave import at_marks
from verl_vaopd.evaluation.formats.values import as_list, as_mapping


class TinyGeo(Benchmark):
    """See the module."""

    name = "tinygeo"
    title = "TinyGeo"
    made_by = "a training with dataset=tinygeo"
    splits = ("test",)
    resizes = False  # drawn at the size that its models read
    protocols = ("rule",)
    place_images = staticmethod(at_marks)

    def prompt(self, fields: Fields) -> str:
        """The user's message, with its mark `<image>`."""
        messages = as_list(field(fields, "prompt"))
        if not messages or "content" not in as_mapping(messages[0]):
            raise ValueError(
                f"prompt: got {messages}, expected a list of messages with `content`; pass the row as written"
            )
        return str(as_mapping(messages[0])["content"])

    def question_id(self, fields: Fields, number: int) -> str:
        """Split and index."""
        extra = _struct(fields, "extra_info", "index")
        return f"{extra.get('split')}/{extra['index']}"

    def rule(self, fields: Fields, response: str) -> Verdict:
        """Whether the last box holds the ground truth."""
        text = strip_thinking(response)
        gold = str(_struct(fields, "reward_model", "ground_truth")["ground_truth"])
        return Verdict(extract_boxed(text) or None, float(exact_match(text, gold)))


def _struct(fields: Fields, column: str, member: str) -> dict[str, Any]:
    struct = as_mapping(field(fields, column))
    if member not in struct:
        raise ValueError(f"{column}: got {struct}, expected a struct with {member!r}; pass the row as written")
    return struct
