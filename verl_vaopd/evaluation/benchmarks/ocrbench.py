"""OCRBench: 1000 questions about text in images, of ten kinds (arXiv:2305.07895).

Layouts: echo840/OCRBench (test) and VLMEvalKit's OCRBench.tsv. 149 questions have several golds; one is enough.

Official protocol: a gold must occur in the response, both in lower case, without outer space and with newlines as
spaces. Of handwritten formulas (HME100k) all spaces are removed and the case is kept. Oddities: anything goes that
contains the gold ("yesterday" for "yes", "123" for "12"), also a list of guesses; a think-block counts like anything
else.

Rule: the gold must stand there as whole words, after the thinking, in the box if there is one; straight and curly
quotes are alike. Formulas: whatever the spaces, \\left and \\right, \\text, and braces around single characters, and
not as part of a longer number or name; it may stand behind "is" or a colon, between dollars, in a fence.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from verl_vaopd.answers.normalise import fold_wide
from verl_vaopd.answers.response import strip_thinking
from verl_vaopd.answers.rewards import extract_boxed
from verl_vaopd.evaluation.benchmark import Benchmark, Fields, Judge, Verdict, field, one_of
from verl_vaopd.evaluation.formats.values import as_list
from verl_vaopd.evaluation.shares import accuracy

FORMULAS = "Handwritten Mathematical Expression Recognition"
_OTHER_GROUPS = ("Scene Text-centric VQA", "Doc-oriented VQA", "Key Information Extraction", FORMULAS)
_RECOGNITION = (
    "Regular Text Recognition",
    "Irregular Text Recognition",
    "Artistic Text Recognition",
    "Handwriting Recognition",
    "Digit String Recognition",
    "Non-Semantic Text Recognition",
)
_FORMULA_BOUNDS = re.compile(r"\$+|\\[\[\]()]|`+(?:latex|tex|math)?|\b(?:is|reads):?\s|\w:\s|\n")
_FORMULA_NOISE = re.compile(r"\\(?:left|right|displaystyle)(?![A-Za-z])|\\[,;:! ]|\s")
_TEXT_IN_FORMULA = re.compile(r"\\(?:text|mathrm)\s?\{([^{}]*)\}")
_SYNONYMS = [
    (re.compile(rf"\\{long}(?![A-Za-z])"), rf"\\{short}")
    for long, short in (("dfrac", "frac"), ("tfrac", "frac"), ("leq", "le"), ("geq", "ge"), ("neq", "ne"))
]
_SINGLE_IN_BRACES = re.compile(r"\{([A-Za-z0-9])\}")
_QUOTES = str.maketrans("‘’“”", "''\"\"")


class OCRBench(Benchmark):
    """See the module."""

    name = "ocrbench"
    title = "OCRBench"
    paper_average = "Visual avg"
    hub_id = "echo840/OCRBench"
    tsv = "OCRBench"
    splits = ("test",)
    headline = "final_score"
    max_points = 1000.0
    explained_by = ("final_score",)

    def prompt(self, fields: Fields) -> str:
        """The question and nothing else."""
        return str(field(fields, "question"))

    def rule(self, fields: Fields, response: str) -> Verdict:
        """See the module."""
        text = strip_thinking(response)
        if _is_formula(fields):
            spell, places = _formula, _FORMULA_BOUNDS.split(text)
        else:
            box = extract_boxed(text)
            spell, places = _words, [text if box is None else box]
        golds, places = ([spell(one) for one in several] for several in (_golds(fields), places))
        found = "".join(places)
        hit = any(gold and _stands_in(gold, place) for gold in golds for place in (found, *places))
        return Verdict(found or None, float(hit))

    def official(self, fields: Fields, response: str, judge: Judge | None, seed: int) -> Verdict:
        """See the module."""
        if _is_formula(fields):
            found, golds = _without_spaces(response), map(_without_spaces, _golds(fields))
        else:
            found, golds = _in_lower_case(response), map(_in_lower_case, _golds(fields))
        return Verdict(found or None, float(any(gold in found for gold in golds)))

    def metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """The final score: right answers out of 1000, scaled up from the rows with a hit where there are fewer.

        Beside it the accuracy of the five groups, of which the first counts six kinds of questions.
        """
        groups: dict[str, list[Mapping[str, Any]]] = {name: [] for name in ("Text Recognition", *_OTHER_GROUPS)}
        for row in rows:
            kind = _kind(row)
            groups["Text Recognition" if kind in _RECOGNITION else kind].append(row)
        scores = {name: accuracy(of_group) for name, of_group in groups.items() if of_group}
        return {"final_score": self.max_points / 100.0 * accuracy(rows), **scores}


def _kind(fields: Fields) -> str:
    return one_of(fields, (*_RECOGNITION, *_OTHER_GROUPS), "question_type", "category", "type")


def _is_formula(fields: Fields) -> bool:
    return _kind(fields) == FORMULAS


def _golds(fields: Fields) -> list[str]:
    return [str(gold) for gold in as_list(field(fields, "answer", "answers"))]


def _without_spaces(text: str) -> str:
    return text.strip().replace("\n", "").replace(" ", "")


def _in_lower_case(text: str) -> str:
    return text.lower().strip().replace("\n", " ")


def _formula(text: str) -> str:
    text = _FORMULA_NOISE.sub("", _TEXT_IN_FORMULA.sub(r"\1", text))
    for command, shorter in _SYNONYMS:
        text = command.sub(shorter, text)
    return _SINGLE_IN_BRACES.sub(r"\1", text)


def _words(text: str) -> str:
    return " ".join(fold_wide(text).translate(_QUOTES).casefold().split())


def _stands_in(gold: str, text: str) -> bool:
    """Whether the gold occurs where no word of it goes on."""
    before = r"(?<![A-Za-z0-9])" if gold[0].isascii() and gold[0].isalnum() else ""
    after = r"(?![A-Za-z0-9])" if gold[-1].isascii() and gold[-1].isalnum() else ""
    return re.search(before + re.escape(gold) + after, text) is not None
