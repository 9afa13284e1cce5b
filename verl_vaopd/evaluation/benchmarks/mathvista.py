"""MathVista testmini: 1000 questions, 540 multiple choice and 460 free-form (arXiv:2310.02255).

Layouts: AI4Math/MathVista (testmini) and VLMEvalKit's MathVista_MINI.tsv.

Official protocol (the calculate_score of MathVista's repository): a response that is a choice, or that Python reads as
the wanted type of number, is its own extraction; from any other a judge extracts. Then a choice letter becomes its
choice, any other extraction the choice nearest by edit distance; integers are int(float(x)), floats are rounded to the
published precision; and texts must be equal. Oddities: some choice is always the nearest, so rubbish can be right, as
can an empty response (the shortest choice); of several "(B)" the first counts; int(float()) cuts "14.7" to 14; lists
must be spelled as published. Where the judge fails, the official script takes its extraction for empty and scores on;
here the response stays unscored.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from verl_vaopd.answers.choice import LETTERS, chosen_letter, letters_of
from verl_vaopd.answers.equality import numeric_value, same_value
from verl_vaopd.evaluation.benchmark import Benchmark, Fields, Judge, Verdict, ask, field, is_present
from verl_vaopd.evaluation.benchmarks.edit_distance import edit_distance
from verl_vaopd.evaluation.benchmarks.free_form import score_free_form
from verl_vaopd.evaluation.benchmarks.mathvista_numbers import decimals, final_number, final_numbers, rounds_to, spell
from verl_vaopd.evaluation.published import as_list, as_mapping
from verl_vaopd.evaluation.shares import accuracy, accuracy_by

_LETTER = re.compile(r"\(([a-zA-Z])\)")


class MathVista(Benchmark):
    """See the module."""

    name = "mathvista"
    title = "MathVista"
    paper_average = "Math avg"
    hub_id = "AI4Math/MathVista"
    tsv = "MathVista_MINI"
    splits = ("testmini",)
    id_fields = ("pid", "index")

    def prompt(self, fields: Fields) -> str:
        """The published query: hint, question, choices. VLMEvalKit calls it `question`."""
        return str(field(fields, "query", "question"))

    def rule(self, fields: Fields, response: str) -> Verdict:
        """Letter or text of the choice; the number, exact (integer) or rounded to the precision (float); the list."""
        if _is_choice(fields):
            options = letters_of(_choices(fields))
            letter = chosen_letter(response, options, str(fields.get("question") or ""))
            # By text: some questions have a choice twice.
            return Verdict(letter, float(letter is not None and options[letter] == _gold(fields)))
        gold, kind = _gold(fields), field(fields, "answer_type")
        if kind == "list":
            values = final_numbers(response)
            parsed = None if values is None else f"[{', '.join(map(spell, values))}]"
            return Verdict(parsed, float(values == [numeric_value(str(item)) for item in as_list(gold)]))
        wanted = numeric_value(gold)
        if wanted is None:  # no number after all: a range, a word
            return score_free_form(response, [gold])
        value = final_number(response)
        if value is None:
            return Verdict(None, 0.0)
        if kind == "float":
            return Verdict(spell(value), float(rounds_to(value, wanted, _precision(fields))))
        return Verdict(spell(value), float(same_value(value, wanted)))

    def official(self, fields: Fields, response: str, judge: Judge | None, seed: int) -> Verdict:
        """See the module."""
        extraction = _own_extraction(fields, response)
        if extraction is None:
            extraction = ask(judge, extraction_prompt(self.prompt(fields), response))
            if extraction is None:
                return Verdict(None, None)
        parsed = _normalised(fields, extraction)
        return Verdict(parsed, float(parsed == _gold(fields)))

    def metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Accuracy, by type of question, and without the questions that come from Geometry3K, where that is known."""
        sources = [_source(row) for row in rows]
        others = [row for row, source in zip(rows, sources, strict=True) if source not in (None, "Geometry3K")]
        return {
            "accuracy": accuracy(rows),
            **accuracy_by(rows, lambda row: str(field(row, "question_type"))),
            **({"without_geometry3k": accuracy(others)} if others else {}),
        }


def extraction_prompt(query: str, response: str) -> str:
    """Ask a judge for the answer that a response gives."""
    return (
        "Below are a question with a hint about the form of its answer, and a model's response. Copy out the "
        "response's final answer in the form that the hint asks for: the capital letter of a choice, a bare number "
        "without unit, or a Python list. Do not solve the question and do not correct the response. Reply with the "
        "answer alone.\n\n"
        f"<question>\n{query}\n</question>\n<response>\n{response}\n</response>\n\nFinal answer:"
    )


def _is_choice(fields: Fields) -> bool:
    return field(fields, "question_type") == "multi_choice"


def _choices(fields: Fields) -> list[str]:
    return [str(choice) for choice in as_list(field(fields, "choices"))]


def _gold(fields: Fields) -> str:
    """Of multiple choice the choice's text: VLMEvalKit also has its letter, by which it can be told for sure."""
    if _is_choice(fields):
        choices, letter = _choices(fields), str(fields.get("answer_option") or "")
        gold = choices[LETTERS.index(letter)] if letter and letter in LETTERS[: len(choices)] else fields.get("answer")
        if gold not in choices:
            raise ValueError(f"answer: got {gold!r}, expected one of the choices {choices}; pass the row as published")
        return str(gold)
    return str(field(fields, "answer"))


def _precision(fields: Fields) -> int:
    precision = fields.get("precision")
    return int(float(str(precision))) if is_present(precision) else decimals(_gold(fields))


def _source(fields: Fields) -> str | None:
    return as_mapping(fields.get("metadata")).get("source") or fields.get("source")


def _own_extraction(fields: Fields, response: str) -> str | None:
    """What needs no judge; None if one is needed."""
    if response == "":
        return ""
    if _is_choice(fields):
        return response if response in _choices(fields) else None
    try:
        match field(fields, "answer_type"):
            case "integer":
                return str(int(response))
            case "float":
                return str(float(response))
    except ValueError:
        pass
    return None


def _normalised(fields: Fields, extraction: str) -> str | None:
    if _is_choice(fields):
        extraction = extraction.strip()
        bracketed = _LETTER.search(extraction)
        letter = bracketed[1].upper() if bracketed else extraction
        choices = _choices(fields)
        options = letters_of(choices)
        return options[letter] if letter in options else min(choices, key=lambda choice: edit_distance(letter, choice))
    try:
        match field(fields, "answer_type"):
            case "integer":
                return str(int(float(extraction)))
            case "float":
                return str(round(float(extraction), _precision(fields)))
    except (ValueError, OverflowError):
        return None
    return extraction
