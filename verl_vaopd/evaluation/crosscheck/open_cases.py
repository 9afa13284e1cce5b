"""Invented cases with words, yes or no, and texts to be read."""

from __future__ import annotations

from typing import Any

from verl_vaopd.evaluation.crosscheck.case import TABLES, Case


def cases(layout: str) -> list[Case]:
    """The cases of HallusionBench, OCRBench and the open part of MMMU."""
    return [*_hallusionbench(layout), *_mmmu_open(layout), *_ocrbench(layout)]


def _hallusionbench(layout: str) -> list[Case]:
    found = []
    for gold in ("Yes", "No"):
        for number, (response, opinion) in enumerate(TABLES["hallusionbench"]):
            told = opinion if gold == "Yes" or opinion is None else _OPPOSITE.get(opinion, opinion)
            fields = _hallusion_fields(layout, ("VD", "VS")[gold == "No"], number, gold)
            found.append(Case("hallusionbench", f"{gold}/{response}", fields, response, {"judgement": told}))
    for category in ("VD", "VS"):
        found += _truth_table(layout, category)
    if layout == "hf":
        found += [_without_figure(number, *said) for number, said in enumerate(_WITHOUT_FIGURE)]
    return found


def _truth_table(layout: str, category: str) -> list[Case]:
    """Every way in which two questions about two figures can be right and wrong; VS has one answer otherwise."""
    found = []
    for number in range(_FIRST_IN_TABLE, _FIRST_IN_TABLE + 4 * _NUM_SETS):
        group, place = divmod(number - _FIRST_IN_TABLE, 4)
        is_right = bool((group ^ (category == "VS")) >> place & 1)
        fields, response = _hallusion_fields(layout, category, number, "Yes"), "Yes" if is_right else "No"
        replies = {"judgement": "correct" if is_right else "incorrect"}
        found.append(Case("hallusionbench", f"{category} set {group}, {place}", fields, response, replies))
    return found


def _hallusion_fields(layout: str, category: str, number: int, gold: str) -> dict[str, Any]:
    """Sets of two figures with two questions each; the same in both categories, which frameworks may not tell apart."""
    figure = str(number // 2 % 2 + (category == "VS"))  # VS questions about figure 0 come without one
    place = (str(number // 4), figure, str(number % 2))
    question = "Are they equally long?"
    if layout == "tsv":
        index = "_".join(("0", category, "ocr", *place))
        return {"index": index, "category": category, "l2-category": "ocr", "question": question, "answer": gold}
    fields = {"category": category, "subcategory": "ocr", "visual_input": "1", "question": question}
    fields |= dict(zip(("set_id", "figure_id", "question_id"), place, strict=True))
    details = "They are." if gold == "Yes" else "They are not."
    return {**fields, "gt_answer": str(int(gold == "Yes")), "gt_answer_details": details}


_FIRST_IN_TABLE = 100
_NUM_SETS = 16
_OPPOSITE = {"correct": "incorrect", "incorrect": "correct", "Correct.": "incorrect"}
_WITHOUT_FIGURE = [("I cannot see it.", "unclear"), ("Yes", "correct"), ("No", "incorrect")]


def _without_figure(number: int, response: str, opinion: str) -> Case:
    fields = _hallusion_fields("hf", "VS", number, "Yes")
    fields |= {"visual_input": "0", "set_id": "9", "figure_id": "0", "question_id": str(number)}
    return Case("hallusionbench", f"no figure/{response}", fields, response, {"judgement": opinion})


def _mmmu_open(layout: str) -> list[Case]:
    found = []
    answered = ((row["golds"], response) for row in TABLES["mmmu"] for response in row["responses"])
    for number, (golds, response) in enumerate(answered):
        gold = str(golds) if len(golds) > 1 else golds[0]
        fields = {"id": f"validation_Finance_{number}", "question": "What is it in <image 1>?", "answer": gold}
        if layout == "tsv":
            # Indices go on after those of the multiple-choice part.
            fields |= {"index": str(1000 + number), "split": "validation", "category": "Finance"}
            fields |= {"A": "", "B": "", "C": "", "D": "", "l2-category": "Business", "question_type": "open"}
        else:
            fields |= {"options": "[]", "question_type": "open"}
        found.append(Case("mmmu", f"open {' or '.join(golds)}/{response}", fields, response))
    return found


def _ocrbench(layout: str) -> list[Case]:
    found: list[Case] = []
    for name, row in TABLES["ocrbench"].items():
        for response in row["responses"]:
            fields: dict[str, Any] = {"question": "What is written there?"}
            if layout == "tsv":
                fields |= {"index": str(len(found)), "category": row["kind"], "answer": str(row["golds"])}
            else:
                fields |= {"dataset": row["dataset"], "question_type": row["kind"], "answer": row["golds"]}
            found.append(Case("ocrbench", f"{name}/{response}", fields, response))
    return found
