"""HallusionBench: 951 yes/no questions about 346 figures, asked of originals and altered ones (arXiv:2310.14566).

Layouts: lmms-lab/HallusionBench (split `image`), the repository's HallusionBench.json with its folder of images, and
VLMEvalKit's HallusionBench.tsv, whose index ends in set, figure and question. 178 more questions come without a figure;
they are not asked.

Official protocol (HallusionBench's repository): a judge compares each response with the published explanation of the
answer (`gt_answer_details`; in VLMEvalKit's file there is only "Yes" or "No", with which it is then compared) and says
correct, incorrect or unclear; any reply but the first two is unclear, which is wrong. Without a judge nothing can be
scored. Oddity: a question of category VS without figure may be answered with "unclear".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from verl_vaopd.answers.yes_no import said_yes_or_no
from verl_vaopd.evaluation.benchmark import Benchmark, Fields, ImagePart, Judge, Verdict, ask, field, is_present
from verl_vaopd.evaluation.shares import accuracy, percent

GROUPINGS = ("official", "vlmevalkit")
_GOLD = {"0": "No", "1": "Yes", "no": "No", "yes": "Yes"}


@dataclass(frozen=True)
class HallusionBench(Benchmark):
    """See the module.

    Args:
        grouping: "official" tells 455 questions and 346 figures apart; "vlmevalkit" leaves the category (VD or VS) out
            of their names and thereby merges some: 429 and 332.
    """

    grouping: str = "official"

    name = "hallusionbench"
    title = "HalluB"
    paper_average = "Visual avg"
    hub_id = "lmms-lab/HallusionBench"
    tsv = "HallusionBench"
    splits = ("image",)
    image_columns = (*Benchmark.image_columns, "filename")
    needs_image = True
    headline = "mean"
    headline_parts = explained_by = ("aAcc", "fAcc", "qAcc")

    def __post_init__(self) -> None:
        if self.grouping not in GROUPINGS:
            raise ValueError(f"grouping: got {self.grouping!r}, expected {' or '.join(map(repr, GROUPINGS))}")

    def prompt(self, fields: Fields) -> str:
        """The question and nothing else."""
        return str(field(fields, "question"))

    def question_id(self, fields: Fields, number: int) -> str:
        """Category, subcategory, set, figure, question."""
        return "_".join((*_family(fields), *_place(fields)))

    def cluster(self, fields: Fields, images: Sequence[ImagePart]) -> str:
        """The set: a figure, its altered versions, and the questions about them; whatever the grouping."""
        return "_".join((_family(fields)[1], _place(fields)[0]))

    def rule(self, fields: Fields, response: str) -> Verdict:
        """Yes or no."""
        said = said_yes_or_no(response, str(field(fields, "question")))
        return Verdict(said, float(said == _gold(fields)))

    def official(self, fields: Fields, response: str, judge: Judge | None, seed: int) -> Verdict:
        """See the module."""
        reference = fields["gt_answer_details"] if is_present(fields.get("gt_answer_details")) else _gold(fields)
        reply = ask(judge, judgement_prompt(self.prompt(fields), str(reference), response))
        if reply is None:
            return Verdict(None, None)
        words = reply.lower()
        judged = "incorrect" if "incorrect" in words else "correct" if "correct" in words else "unclear"
        may_be_unclear = _family(fields)[0] == "VS" and _place(fields)[1] == "0"
        return Verdict(judged, float(judged == "correct" or (judged == "unclear" and may_be_unclear)))

    def metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Right answers (aAcc), figures (fAcc) and questions (qAcc) of which all answers are right, and their mean.

        A figure or a question with an answer that has no hit is in neither share. Questions without figure (category
        VS, figure 0) belong to no figure, as officially.
        """
        shown = [row for row in rows if not (_family(row)[0] == "VS" and _place(row)[1] == "0")]
        shares = (
            accuracy(rows),
            _all_right(shown, lambda row: (*self._family(row), *_place(row)[:2])),
            _all_right(rows, lambda row: (*self._family(row), _place(row)[0], _place(row)[2])),
        )
        return {"mean": sum(shares) / len(shares), **dict(zip(self.headline_parts, shares, strict=True))}

    def _family(self, fields: Fields) -> tuple[str, ...]:
        return _family(fields) if self.grouping == "official" else _family(fields)[1:]


def judgement_prompt(question: str, reference: str, response: str) -> str:
    """Ask a judge whether a response agrees with the reference answer."""
    return (
        "A model was asked a yes/no question about a figure that you cannot see. Compare its response with the "
        "reference answer, which is true. Reply with one word alone:\n"
        "correct, if the response says nothing against the reference;\n"
        "incorrect, if it does;\n"
        "unclear, if the response does not settle on an answer.\n\n"
        f"<question>\n{question}\n</question>\n<reference>\n{reference}\n</reference>\n<response>\n{response}\n"
        "</response>\n\nWord:"
    )


def _family(fields: Fields) -> tuple[str, str]:
    """Category (VD: the figure is needed, VS: it supplements) and subcategory."""
    return str(field(fields, "category")), str(field(fields, "subcategory", "l2-category"))


def _place(fields: Fields) -> tuple[str, str, str]:
    """Set, figure, question."""
    if is_present(fields.get("set_id")):
        return str(fields["set_id"]), str(field(fields, "figure_id")), str(field(fields, "question_id"))
    parts = str(field(fields, "index")).rsplit("_", 3)
    if len(parts) < 4:
        raise ValueError(f"index: got {fields['index']!r}, expected one that ends in _set_figure_question")
    return parts[1], parts[2], parts[3]


def _gold(fields: Fields) -> str:
    name = "gt_answer" if is_present(fields.get("gt_answer")) else "answer"
    gold = str(field(fields, "gt_answer", "answer")).strip().lower()
    if gold not in _GOLD:
        raise ValueError(f"{name}: got {gold!r}, expected yes or no, 1 or 0; pass the row as published")
    return _GOLD[gold]


def _all_right(rows: Sequence[Mapping[str, Any]], key: Any) -> float:
    groups: dict[tuple[str, ...], list[float | None]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row["hit"])
    return percent(all(hits) for hits in groups.values() if None not in hits)
