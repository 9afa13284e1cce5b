"""Questions of the user's own, scored by the protocol `rule`.

A JSONL or parquet file. Each row has `question` and `answer`; if wanted `images` (paths from the file's directory; a
parquet file may hold the images themselves), marked by `<image>` in the question or else put before it; `options` (a
list) for multiple choice, of which `answer` is the letter or the text; `id`; and `cluster`, for questions that are not
independent of each other. `answer` may be a list: one of it is enough.
"""

from collections.abc import Iterator
from pathlib import Path

from verl_vaopd.answers.choice import letters_of
from verl_vaopd.evaluation.benchmark import Benchmark, Fields, Verdict, field, is_present
from verl_vaopd.evaluation.benchmarks.choices import choice_prompt, score_by_rule
from verl_vaopd.evaluation.benchmarks.free_form import score_free_form
from verl_vaopd.evaluation.benchmarks.interleave import at_marks
from verl_vaopd.evaluation.json_lines import numbered_objects
from verl_vaopd.evaluation.published import ImageFile, Row, as_list, read_rows


class Custom(Benchmark):
    """See the module."""

    name = "custom"
    title = "Custom"
    splits = ("test",)
    id_fields = ("id",)
    cluster_fields = ("cluster",)
    protocols = ("rule",)
    place_images = staticmethod(at_marks)

    def prompt(self, fields: Fields) -> str:
        """The question as it is, or with its options as VLMEvalKit asks."""
        question, options = str(field(fields, "question")), _options(fields)
        return choice_prompt(question, options) if options else question

    def rows(self, path: Path) -> Iterator[Row]:
        """Of a JSONL file, or as published files are read; images by their paths."""
        for fields, images in _jsonl_rows(path) if path.suffix == ".jsonl" else read_rows(path, self.splits):
            paths = as_list(fields["images"]) if is_present(fields.get("images")) else []
            yield fields, (*images, *(ImageFile(path.parent / str(name)) for name in paths))

    def rule(self, fields: Fields, response: str) -> Verdict:
        """The option, or a value equal to an answer."""
        options, golds = _options(fields), [str(gold) for gold in as_list(field(fields, "answer"))]
        if not options:
            return score_free_form(response, golds)
        letters = [letter for letter, text in options.items() if letter in golds or text in golds]
        if len(letters) != 1:
            raise ValueError(f"answer: got {golds}, expected the letter or the text of one of the options {options}")
        return score_by_rule(response, options, letters[0])


def _options(fields: Fields) -> dict[str, str]:
    return letters_of(as_list(fields["options"])) if is_present(fields.get("options")) else {}


def _jsonl_rows(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for _, row in numbered_objects(file, path):
            yield row, ()
