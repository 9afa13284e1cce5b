r"""Invented cases of MathVista and MathVerse, where a judge extracts the answer or compares it."""

from __future__ import annotations

from typing import Any

from verl_vaopd.evaluation.crosscheck.case import Case


def cases(layout: str) -> list[Case]:
    """The cases of MathVista and MathVerse."""
    return [*_mathvista(layout), *_mathverse(layout)]


# question: (question_type, answer_type, precision, choices, gold, letter)
_CHOICES = ["135°", "145°", "45°", "small"]
_MATHVISTA: dict[str, tuple[str, str, float | None, list[str], str, str]] = {
    "choice": ("multi_choice", "text", None, _CHOICES, "145°", "B"),
    "shortest choice": ("multi_choice", "text", None, _CHOICES, "45°", "C"),
    "integer": ("free_form", "integer", None, [], "14", ""),
    "zero": ("free_form", "integer", None, [], "0", ""),
    "thousands": ("free_form", "integer", None, [], "1400", ""),
    "float": ("free_form", "float", 1.0, [], "1.2", ""),
    "two decimals": ("free_form", "float", 2.0, [], "0.67", ""),
    "list": ("free_form", "list", None, [], "[2014, 2016]", ""),
}
# (question, response, the judge's extraction)
_MATHVISTA_RESPONSES: list[tuple[str, str, str | None]] = [
    ("choice", "B", "B"),
    ("choice", "A", "A"),
    ("choice", "145°", "B"),
    ("choice", "The answer is (B).", "B"),
    ("choice", "The answer is (A).", "A"),
    ("choice", "So it is (B)", "(B) 145°"),
    ("choice", "So b", "(b)"),
    ("choice", "Either, I think", "(A) or (B)"),
    ("choice", "Fourteen tens and five", "145"),
    ("choice", "About as much as 145 degrees", "145 degrees"),
    ("choice", "A hundred and forty-five", "rubbish 45"),
    ("choice", r"<think>Is it A ?</think> \boxed{B}", "B"),
    ("choice", r"\boxed{B}", "B"),
    ("choice", "Not large", "E"),
    ("choice", "Cannot determine the answer", "B"),
    ("choice", "", "B"),
    ("choice", "Who knows?", None),
    ("shortest choice", "", "B"),
    ("shortest choice", "Nobody knows", "none"),
    ("integer", "14", "14"),
    ("integer", "15", "15"),
    ("integer", " 14\n", "14"),
    ("integer", "+14", "14"),
    ("integer", "14.0", "14.0"),
    ("integer", "14.7", "14.7"),
    ("integer", "１４", "14"),
    ("integer", "1_4", "14"),
    ("integer", "fourteen", "14"),
    ("integer", "There are 14 people", "14 people"),
    ("integer", "There are 14 people.", "14"),
    ("integer", r"\boxed{14}", "14"),
    ("integer", r"<think>13 or 14</think> \boxed{14}", "14"),
    ("integer", "=14", "14"),
    ("integer", "14°", "14°"),
    ("integer", "28/2", "28/2"),
    ("integer", "endless", "inf"),
    ("integer", "nan", "nan"),
    ("integer", "", "14"),
    ("integer", "Who knows?", None),
    ("zero", "0", "0"),
    ("zero", "none", "0"),
    ("zero", "−0", "0"),
    ("thousands", "1400", "1400"),
    ("thousands", "1,400", "1,400"),
    ("thousands", "1.4e3", "1.4e3"),
    ("float", "1.2", "1.2"),
    ("float", "1.20", "1.20"),
    ("float", "1.24", "1.24"),
    ("float", "1.25", "1.25"),
    ("float", "1.3", "1.3"),
    ("float", "1.2 m", "1.2"),
    ("float", "1.2 metres", "1.2 metres"),
    ("float", "6/5", "6/5"),
    ("float", r"\boxed{1.2}", "1.2"),
    ("two decimals", "0.67", "0.67"),
    ("two decimals", ".67", ".67"),
    ("two decimals", "0.6666", "0.6666"),
    ("two decimals", "67%", "67%"),
    ("two decimals", "2/3", "0.67"),
    ("list", "[2014, 2016]", "[2014, 2016]"),
    ("list", "[2014,2016]", "[2014,2016]"),
    ("list", "2014 and 2016", "[2014, 2016]"),
    ("list", "2014 and 2016", "2014, 2016"),
    ("list", "2016 and 2014", "[2016, 2014]"),
]


def _mathvista(layout: str) -> list[Case]:
    found = []
    for number, (name, response, extraction) in enumerate(_MATHVISTA_RESPONSES):
        question_type, answer_type, precision, choices, gold, letter = _MATHVISTA[name]
        fields: dict[str, Any] = {"question_type": question_type, "answer_type": answer_type, "answer": gold}
        query = "Hint: Answer it.\nQuestion: What is it?"
        if layout == "tsv":
            shared = {"index": str(number), "question": query, "choices": str(choices), "answer_option": letter}
            fields |= {**shared, "task": "geometry problem solving", "skills": "['geometry reasoning']"}
        else:
            fields |= {"pid": str(number), "question": "What is it?", "query": query, "unit": None}
            metadata = {"source": "GEOS", "task": "geometry problem solving", "split": "testmini"}
            fields |= {"choices": choices or None, "precision": precision, "metadata": metadata}
        found.append(
            Case("mathvista", f"{name}/{_told(response, extraction)}", fields, response, {"extraction": extraction})
        )
    return found


# (gold, response, the judge's extraction, its comparison)
_MATHVERSE_RESPONSES: list[tuple[str, str, str | None, str | None]] = [
    ("B", "B", "B", "1"),
    ("B", "The answer is B: 2√{{3}}", "B", "1"),
    ("B", "The answer is C", "C", "0"),
    ("B", "It is 2√{{3}}", "2√{{3}}", "1"),
    ("B", "B:2√{{3}}", "B:2√{{3}}", "1"),
    ("B", r"<think>C?</think> \boxed{B}", "B", "1"),
    ("B", "I cannot tell.", "null", "0"),
    ("B", "", "null", "0"),
    ("22.3 m", "22.3 m", "22.3 m", "1"),
    ("22.3 m", "So d = 22.3", "22.3", "1"),
    ("22.3 m", "So d = 2230 cm", "2230 cm", "1"),
    ("22.3 m", "So d = 22", "22", "0"),
    ("22.3 m", "So d = 22.3 metres", " 22.3 m ", "1"),
    ("22.3 m", r"\boxed{22.3}", "22.3", "yes"),
    ("22.3 m", "About 22.3", "22.3", "The answer is 1"),
    ("22.3 m", "About 22", "22", "Digit: 0"),
    ("22.3 m", "About twenty-two", "22", None),
    ("22.3 m", "Some metres", None, None),
    ("(-2,1]", "(-2, 1]", "(-2, 1]", "1"),
    ("(-2,1]", "(-2, 1)", "(-2, 1)", "0"),
]


def _mathverse(layout: str) -> list[Case]:
    found = []
    for number, (gold, response, extraction, comparison) in enumerate(_MATHVERSE_RESPONSES):
        is_choice = len(gold) == 1
        question = "BC is ()\nChoices:\nA:2\nB:2√{{3}}\nC:√{{3}}\nD:4" if is_choice else "Find it."
        metadata = {"subject": "Plane Geometry", "subfield": "Length", "split": "testmini"}
        fields = {
            "sample_index": str(number),
            "problem_index": str(number // 5),
            "problem_version": ("Text Dominant", "Vision Only")[number % 2],
            "question": question,
            "answer": gold,
            "question_type": "multi-choice" if is_choice else "free-form",
            "metadata": metadata if layout == "hf" else str(metadata),
            "query_wo": f"Please answer directly.\nQuestion: {question}",
            "query_cot": f"Please reason first.\nQuestion: {question}",
            "question_for_eval": question,
        }
        if layout == "tsv":
            fields = {"index": str(number), **fields}
        replies = {"extraction": extraction, "comparison": comparison}
        found.append(Case("mathverse", f"{gold}/{_told(response, comparison)}", fields, response, replies))
    return found


def _told(response: str, reply: str | None) -> str:
    return f"{response} [{'no reply' if reply is None else reply}]"
