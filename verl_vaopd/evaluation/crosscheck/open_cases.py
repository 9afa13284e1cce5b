r"""Invented cases with words, yes or no, and texts to be read."""

from __future__ import annotations

from typing import Any

from verl_vaopd.evaluation.crosscheck.case import Case


def cases(layout: str) -> list[Case]:
    """The cases of HallusionBench, OCRBench and the open part of MMMU."""
    return [*_hallusionbench(layout), *_mmmu_open(layout), *_ocrbench(layout)]


# (response, the judge's opinion if the gold is yes)
_HALLUSION_RESPONSES: list[tuple[str, str | None]] = [
    ("Yes", "correct"),
    ("No", "incorrect"),
    ("yes.", "correct"),
    ("No, they are not.", "incorrect"),
    ("Yes, there is no doubt.", "correct"),
    ("There is no difference.", "incorrect"),
    ("They are equally long.", "correct"),
    ("I cannot tell.", "unclear"),
    ("Yes and no.", "unclear"),
    ("No? Yes!", "correct"),
    ("<think>No?</think> Yes", "correct"),
    (r"\boxed{Yes}", "correct"),
    (r"The answer is \boxed{\text{No}}.", "incorrect"),
    ("**Yes**", "correct"),
    ("Answer: Yes", "Correct."),
    ("Not yes, I think: no", "incorrect"),
    ("Nope", "This is incorrect, not correct"),
    ("yes/no", "I cannot say"),
    ("(No)", "incorrect"),
    ("Yes,it is", "correct"),
    ("The figure shows 1,000 lines, yes", "correct"),
    ("It says 'no', which yesterday meant something else", "unclear"),
    ("", "unclear"),
    ("Failed to obtain answer via API.", None),
]


def _hallusionbench(layout: str) -> list[Case]:
    found = []
    for gold in ("Yes", "No"):
        for number, (response, opinion) in enumerate(_HALLUSION_RESPONSES):
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


# (golds, response)
_MMMU_RESPONSES: list[tuple[list[str], str]] = [
    (["24/7", "3.429"], "3.429"),
    (["24/7", "3.429"], "The ratio is 3.43"),
    (["24/7", "3.429"], "The ratio is 24/7"),
    (["24/7", "3.429"], "The ratio is 3.4"),
    (["1234.5"], "so x = 1,234.5"),
    (["1234.5"], "1,234.5"),
    (["2000"], "so x = 2e3"),
    (["2000"], "It is 2000 dollars"),
    (["4"], "It is 3\nIt is 4\nIt is 5"),
    (["4"], "It is 40"),
    (["4"], "\\boxed{4}"),
    (["4"], "<think>3?</think> 4"),
    (["4"], "−4"),
    (["-4"], "-4"),
    (["0.5"], "1/2"),
    (["0.5"], "50%"),
    (["Tampa", "Florida"], "The state is Florida"),
    (["Tampa", "Florida"], "It is not Floridada, is it?"),
    (["Tampa", "Florida"], "Georgia"),
    (["B"], "so the answer is B"),
    (["B"], "b"),
    (["B"], "It is called B"),
    (["mitochondria"], "These are mitochondria."),
    (["mitochondria"], "Mitochondrion"),
    (["mitochondria"], ""),
    (["mitochondria"], "I do not know."),
    (["mitochondria"], "B. Other Answers"),
    (["mitochondria"], "A"),
    (["x = 5"], "thus x = 5"),
    (["$6"], "It costs $6"),
    (["8π"], "So it is 8π"),
    (["8π"], r"\boxed{8\pi}"),
    (["45°"], "45"),
]


def _mmmu_open(layout: str) -> list[Case]:
    found = []
    for number, (golds, response) in enumerate(_MMMU_RESPONSES):
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


_FORMULAS = "Handwritten Mathematical Expression Recognition"
_OCR_KINDS = {
    "word": ("Regular Text Recognition", "IIIT5K", ["CLUB"]),
    "digits": ("Digit String Recognition", "ORAND-CAR", ["0012"]),
    "yes": ("Scene Text-centric VQA", "textVQA", ["yes"]),
    "brand": ("Scene Text-centric VQA", "textVQA", ["Coca Cola", "Coke"]),
    "date": ("Doc-oriented VQA", "docVQA", ["12/08/99", "12 August\n1999"]),
    "total": ("Key Information Extraction", "SROIE", ["RM 9.00"]),
    "formula": (_FORMULAS, "HME100k", ["y _ { 2 } = - 1"]),
    "formulas": (_FORMULAS, "HME100k", ["\\frac { 1 } { 2 }\n", "1 / 2"]),
}
_OCR_RESPONSES = {
    "word": ["CLUB", "club", "The word is 'Club'.", "CLUBS", "C L U B", "", "ＣＬＵＢ", "<think>CLUB?</think> PUB"],
    "digits": ["0012", "12", "00123", "It reads 0012.", "0 0 1 2", r"\boxed{0012}", "００１２"],
    "yes": ["Yes", "yesterday", "no", "No, but yes", r"\boxed{yes}", "eyes"],
    "brand": ["Coca-Cola", "coke", "It says Coca Cola.", "COCA\nCOLA", "Coca  Cola", "Pepsi or coke"],
    "date": ["12/08/99", "12 August 1999", "12 august\n1999", "12.08.99", "12/08/1999"],
    "total": ["RM 9.00", "rm 9.00", "RM9.00", "9.00", "RM 9.001", "The total is RM\n9.00."],
    "formula": ["y_2 = -1", "$y _ {2} = - 1$", "y_{2}=-1", "Y _ { 2 } = - 1", "y _ { 2 }\n= - 1", r"\boxed{y_{2}=-1}"],
    "formulas": [r"\frac{1}{2}", "1/2", "1 /\n2", r"\dfrac{1}{2}", "0.5", "11/2"],
}


def _ocrbench(layout: str) -> list[Case]:
    found: list[Case] = []
    for name, responses in _OCR_RESPONSES.items():
        kind, dataset, golds = _OCR_KINDS[name]
        for response in responses:
            fields: dict[str, Any] = {"question": "What is written there?"}
            if layout == "tsv":
                fields |= {"index": str(len(found)), "category": kind, "answer": str(golds)}
            else:
                fields |= {"dataset": dataset, "question_type": kind, "answer": golds}
            found.append(Case("ocrbench", f"{name}/{response}", fields, response))
    return found
