"""MathVista testmini: 1000 questions, 540 multiple choice and 460 free-form (arXiv:2310.02255).

Layouts: AI4Math/MathVista (testmini), the repository's testmini.json, which has no `query` (it is put together here as
the hub's reads: hint, question, choices), and VLMEvalKit's MathVista_MINI.tsv.

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

from verl_vaopd.answers.choice import chosen_letter, letters_of
from verl_vaopd.answers.equality import numeric_value, same_value
from verl_vaopd.evaluation.benchmark import Benchmark, Fields, Judge, Verdict, ask, field, is_present, one_of
from verl_vaopd.evaluation.benchmarks.edit_distance import edit_distance
from verl_vaopd.evaluation.benchmarks.free_form import score_free_form
from verl_vaopd.evaluation.benchmarks.mathvista_numbers import decimals, final_number, final_numbers, rounds_to, spell
from verl_vaopd.evaluation.benchmarks.options import gold_letter
from verl_vaopd.evaluation.formats.values import as_list, as_mapping
from verl_vaopd.evaluation.shares import accuracy, accuracy_by

_HINT = "Hint:"
_WANTED = {
    "text": "and provide the correct option letter, e.g., A, B, C, D",
    "integer": "requiring an integer answer and provide the final value, e.g., 1, 2, 3",
    "float 1": "requiring a floating-point number with one decimal place and provide the final value, e.g., 1.2, 1.3, "
    "1.4",
    "float 2": "requiring a floating-point number with two decimal places and provide the final value, e.g., 1.23, "
    "1.34, 1.45",
    "list": "requiring a Python list as an answer and provide the final list, e.g., [1, 2, 3], [1.2, 1.3, 1.4]",
}
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
        query = str(field(fields, "query", "question"))
        return query if is_present(fields.get("query")) or query.startswith(_HINT) else _query(fields)

    def rule(self, fields: Fields, response: str) -> Verdict:
        """Letter or text of the choice; the number, exact (integer) or rounded to the precision (float); the list."""
        if _is_choice(fields):
            options, gold = letters_of(_choices(fields)), _gold(fields)
            letter = chosen_letter(response, options, str(fields.get("question") or ""))
            # By text: some questions have a choice twice.
            return Verdict(letter, float(letter is not None and options[letter] == gold))
        gold, kind = _gold(fields), _answer_type(fields)
        precision = _precision(fields) if kind == "float" else 0
        items = as_list(gold) if kind == "list" else [gold]
        golds = [value for item in items if (value := numeric_value(str(item))) is not None]
        if len(golds) < len(items):  # not of the kind that the row says: compared like any other answer
            return score_free_form(response, [gold])
        if kind == "list":
            values = final_numbers(response)
            parsed = None if values is None else f"[{', '.join(map(spell, values))}]"
            return Verdict(parsed, float(values == golds))
        value = final_number(response)
        if value is None:
            return Verdict(None, 0.0)
        if kind == "float":
            return Verdict(spell(value), float(rounds_to(value, golds[0], precision)))
        return Verdict(spell(value), float(same_value(value, golds[0])))

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


def _query(fields: Fields) -> str:
    """What the hub's `query` is, from the columns of the repository's file."""
    kind = _answer_type(fields)
    wanted = _WANTED.get(f"float {_precision(fields)}" if kind == "float" else kind)
    if wanted is None:
        raise ValueError(f"precision: got {fields.get('precision')!r}, expected 1 or 2, for which there is a query")
    lines = [f"{_HINT} Please answer the question {wanted}, at the end.", f"Question: {field(fields, 'question')}"]
    if is_present(fields.get("unit")):
        lines[-1] += f" (Unit: {fields['unit']})"
    if _is_choice(fields):
        lines += ["Choices:", *(f"({letter}) {choice}" for letter, choice in letters_of(_choices(fields)).items())]
    return "\n".join(lines)


def _is_choice(fields: Fields) -> bool:
    return one_of(fields, ("multi_choice", "free_form"), "question_type") == "multi_choice"


def _answer_type(fields: Fields) -> str:
    return one_of(fields, ("text", "integer", "float", "list"), "answer_type")


def _choices(fields: Fields) -> list[str]:
    choices = [str(choice) for choice in as_list(field(fields, "choices"))]
    if not choices:
        raise ValueError("choices: got none for a question with choices, expected a list; pass the row as published")
    return choices


def _gold(fields: Fields) -> str:
    """Of multiple choice the choice's text: VLMEvalKit also has its letter, by which it can be told for sure."""
    if _is_choice(fields):
        choices = letters_of(_choices(fields))
        letter = str(fields.get("answer_option") or "").strip().upper()
        gold = choices[letter] if letter in choices else str(field(fields, "answer"))
        gold = choices.get(gold_letter(gold, choices), gold) if gold not in choices.values() else gold
        if gold not in choices.values():
            raise ValueError(
                f"answer: got {gold!r}, expected one of the choices {[*choices.values()]}; pass the row as published"
            )
        return gold
    return str(field(fields, "answer"))


def _precision(fields: Fields) -> int:
    precision = fields.get("precision")
    if not is_present(precision):
        return decimals(_gold(fields))
    try:
        return int(float(str(precision)))
    except (ValueError, OverflowError):
        raise ValueError(f"precision: got {precision!r}, expected a number of decimals, or nothing") from None


def _source(fields: Fields) -> str | None:
    return as_mapping(fields.get("metadata")).get("source") or fields.get("source")


def _own_extraction(fields: Fields, response: str) -> str | None:
    """What needs no judge; None if one is needed."""
    if response == "":
        return ""
    if _is_choice(fields):
        return response if response in _choices(fields) else None
    try:
        match _answer_type(fields):
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
        match _answer_type(fields):
            case "integer":
                return str(int(float(extraction)))
            case "float":
                return str(round(float(extraction), _precision(fields)))
    except (ValueError, OverflowError):
        return None
    return extraction
