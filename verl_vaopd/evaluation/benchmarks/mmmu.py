"""MMMU validation: 900 questions of 30 college subjects, 847 multiple choice and 53 open (arXiv:2311.16502).

Layouts: MMMU/MMMU (validation; images image_1 to image_7, options as the text of a list), VLMEvalKit's
MMMU_DEV_VAL.tsv, of which the rows of split `dev` are left out, and MMMU's own output files, which have `index2ans` and
no question. Marks `<image 1>` in question and options say where the images belong.

Official protocol: that of MMMU's repository, see mmmu_official.py; no judge. Where its parser finds no letter, it draws
one at random. (VLMEvalKit does otherwise: it turns open questions into multiple choice.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from verl_vaopd.evaluation.benchmark import Benchmark, Fields, Judge, Verdict, field, is_present
from verl_vaopd.evaluation.benchmarks.choices import choice_prompt, fallback_rng, score_by_rule
from verl_vaopd.evaluation.benchmarks.free_form import score_free_form
from verl_vaopd.evaluation.benchmarks.interleave import at_numbers
from verl_vaopd.evaluation.benchmarks.mmmu_official import open_is_right, read_choice, read_open
from verl_vaopd.evaluation.benchmarks.options import gold_doubt, gold_letter, published_options
from verl_vaopd.evaluation.formats.values import as_list
from verl_vaopd.evaluation.shares import accuracy, accuracy_by


@dataclass(frozen=True)
class MMMU(Benchmark):
    """See the module.

    Args:
        random_fallback: draw a letter where the official parser does; else such a response is unparsed and wrong.
    """

    random_fallback: bool = False

    name = "mmmu"
    title = "MMMU"
    paper_average = "Visual avg"
    hub_id = "MMMU/MMMU"
    tsv = "MMMU_DEV_VAL"
    splits = ("validation",)
    left_out_for = "they are not of the validation split"
    id_fields = ("id", "index")
    place_images = staticmethod(at_numbers)

    def prompt(self, fields: Fields) -> str:
        """VLMEvalKit's, with marks where images belong."""
        hint = str(fields["hint"]) if is_present(fields.get("hint")) else None
        return choice_prompt(str(field(fields, "question")), _options(fields), hint)

    def keeps(self, fields: Fields, images: Sequence[Any]) -> bool:
        """The validation split, where there is a column that says so."""
        return not is_present(fields.get("split")) or fields["split"] == "validation"

    def rule(self, fields: Fields, response: str) -> Verdict:
        """The letter of the final answer, or its value."""
        options = _options(fields)
        if options:
            letter = gold_letter(field(fields, "answer"), options)
            return score_by_rule(response, options, letter, str(fields.get("question") or ""))
        return score_free_form(response, _golds(fields))

    def official(self, fields: Fields, response: str, judge: Judge | None, seed: int) -> Verdict:
        """See the module."""
        options = _options(fields)
        if not options:
            answers = read_open(response)
            parsed = "; ".join(sorted(map(str, answers))) if response.strip() else None
            return Verdict(parsed, float(open_is_right(answers, _golds(fields))))
        letter = read_choice(response, options)
        if letter is None and self.random_fallback:
            letter = fallback_rng(seed, str(field(fields, "question", "id")), response).choice(list(options))
        return Verdict(letter, float(letter == gold_letter(field(fields, "answer"), options)))

    def doubt(self, fields: Fields) -> str | None:
        """A letter that is none of the options'."""
        return gold_doubt(field(fields, "answer"), _options(fields))

    def metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Accuracy, and of either kind of question."""
        return {"accuracy": accuracy(rows), **accuracy_by(rows, lambda row: "choice" if _options(row) else "open")}


def _options(fields: Fields) -> dict[str, str]:
    """Empty for an open question."""
    options = published_options(fields)
    if not options and fields.get("question_type") == "multiple-choice":
        raise ValueError(
            "options: got none for a question of type multiple-choice, expected `options`, `index2ans`, or columns A "
            "and B; pass the row as published"
        )
    return options


def _golds(fields: Fields) -> list[str]:
    return [str(gold) for gold in as_list(field(fields, "answer"))]
