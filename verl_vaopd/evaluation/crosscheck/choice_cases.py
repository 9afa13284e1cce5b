"""Invented multiple-choice cases: every way of naming an option, with the right one and with a wrong one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from verl_vaopd.answers.choice import LETTERS
from verl_vaopd.evaluation.crosscheck.case import TABLES, Case

_TABLE = TABLES["choice"]


@dataclass(frozen=True)
class _Choice:
    """One invented question."""

    question: str
    options: list[str]
    gold: str
    wrong: str

    def said(self, response: str, letter: str) -> str:
        """A response that names the option with this letter."""
        text = self.options[LETTERS.index(letter)]
        replaced = {
            "@W": self.wrong if letter == self.gold else self.gold,
            "@L": letter,
            "@l": letter.lower(),
            "@T": text,
            "@U": text.upper(),
            "@F": chr(ord(letter) - ord("A") + ord("Ａ")),
        }
        for mark, value in replaced.items():
            response = response.replace(mark, value)
        return response

    def columns(self) -> dict[str, str]:
        """The options in VLMEvalKit's columns."""
        return dict(zip(LETTERS, self.options, strict=False))


def cases(layout: str) -> list[Case]:
    """The cases of WeMath, AI2D, MMStar and the multiple-choice part of MMMU."""
    found: list[Case] = []
    for benchmark, question in _TABLE["questions"].items():
        main = _Choice(**question)
        answered = list(_answered(main))
        extras = list(_extras())
        if benchmark == "wemath":
            answered += [*extras[:2], *_truth_table(main)]  # so that its problems have all their steps
        else:
            answered += extras
        if benchmark in ("ai2d", "mmstar"):
            answered += [
                (main, name, main.said(said, main.gold), {"choice": reply and main.said(reply, main.gold)})
                for name, (said, reply) in _TABLE["judged"].items()
            ]
        found += [
            Case(benchmark, name, _fields(benchmark, layout, number, choice), response, replies)
            for number, (choice, name, response, replies) in enumerate(answered)
        ]
    return found


_Answered = tuple[_Choice, str, str, dict[str, str | None]]


def _answered(choice: _Choice) -> Iterator[_Answered]:
    for name, response in _TABLE["naming"].items():
        yield choice, f"{name}/right", choice.said(response, choice.gold), {}
        yield choice, f"{name}/wrong", choice.said(response, choice.wrong), {}
    for name, response in _TABLE["without_option"].items():
        yield choice, name, choice.said(response, choice.gold), {}


def _extras() -> Iterator[_Answered]:
    for extra in _TABLE["extras"]:
        for name, response in extra["responses"].items():
            yield _Choice(**extra["question"]), name, response, {}


def _truth_table(choice: _Choice) -> Iterator[_Answered]:
    """Every way in which the questions of a problem can be right and wrong."""
    for n in range(_NUM_PROBLEMS):
        for key in _WEMATH_KEYS:
            step = key.rpartition("_")[2]
            is_right = n >> (0 if step == "multi" else int(step)) & 1
            said = "<answer>@L</answer> Answer: @L"  # an answer for every scorer
            yield choice, f"problem {n}, {key}", choice.said(said, choice.gold if is_right else choice.wrong), {}


def _fields(benchmark: str, layout: str, number: int, choice: _Choice) -> dict[str, Any]:
    return {"wemath": _wemath, "ai2d": _ai2d, "mmmu": _mmmu, "mmstar": _mmstar}[benchmark](layout, number, choice)


_NUM_PROBLEMS = 16
_WEMATH_KEYS = ("2steps_1", "2steps_2", "2steps_multi", "3steps_1", "3steps_2", "3steps_3", "3steps_multi")


def _wemath(layout: str, number: int, choice: _Choice) -> dict[str, Any]:
    problem, place = divmod(number, len(_WEMATH_KEYS))
    key = _WEMATH_KEYS[place]
    shared = {
        "ID": f"{key.partition('_')[0]}_{problem}",
        "split": "testmini",
        "knowledge concept": "Understanding Length (Using a Ruler)",
        "question": choice.question,
        "answer": choice.gold,
        "key": key,
    }
    if layout == "tsv":
        return {"index": str(number), **shared, **choice.columns(), "hint": "Think."}
    option = "; ".join(f"{letter}. {text}" for letter, text in choice.columns().items())
    return {**shared, "option": option, "question number": number, "knowledge concept description": "Of lines."}


def _ai2d(layout: str, number: int, choice: _Choice) -> dict[str, Any]:
    if layout == "tsv":
        shared = {"index": str(number), "question": choice.question, "answer": choice.gold}
        return {**shared, **choice.columns(), "category": "foodChainsWebs"}
    gold = str(LETTERS.index(choice.gold))
    return {"question": choice.question, "options": choice.options, "answer": gold}


def _mmmu(layout: str, number: int, choice: _Choice) -> dict[str, Any]:
    shared = {"id": f"validation_Art_{number}", "question": choice.question, "answer": choice.gold}
    if layout == "tsv":
        shared |= {"index": str(number), "split": "validation", "category": "Art", "l2-category": "Art & Design"}
        return {**shared, **choice.columns(), "question_type": "multiple-choice"}
    return {**shared, "options": str(choice.options), "question_type": "multiple-choice"}


def _mmstar(layout: str, number: int, choice: _Choice) -> dict[str, Any]:
    shared = {"answer": choice.gold, "category": ("math", "coarse perception")[number % 2]}
    if layout == "tsv":
        shared |= {"index": str(number), "question": choice.question, "l2_category": "geometry", "bench": "MMBench"}
        return {**shared, **choice.columns()}
    options = ", ".join(f"{letter}: {text}" for letter, text in choice.columns().items())
    return {"index": number, "question": f"{choice.question}\nOptions: {options}", **shared, "l2_category": "geometry"}
