"""Invented cases of MathVista and MathVerse, where a judge extracts the answer or compares it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from verl_vaopd.evaluation.crosscheck.case import TABLES, Case


def cases(layout: str) -> list[Case]:
    """The cases of MathVista and MathVerse."""
    return [*_mathvista(layout), *_mathverse(layout)]


def _mathvista(layout: str) -> list[Case]:
    found = []
    for number, (name, (response, extraction)) in enumerate(_rows(TABLES["mathvista"]["responses"])):
        question_type, answer_type, precision, choices, gold, letter = TABLES["mathvista"]["questions"][name]
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


def _mathverse(layout: str) -> list[Case]:
    found = []
    for number, (gold, (response, extraction, comparison)) in enumerate(_rows(TABLES["mathverse"])):
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


def _rows(responses: Mapping[str, Sequence[Any]]) -> Iterator[tuple[str, Any]]:
    """Every row of every question."""
    return ((question, row) for question, rows in responses.items() for row in rows)


def _told(response: str, reply: str | None) -> str:
    return f"{response} [{'no reply' if reply is None else reply}]"
