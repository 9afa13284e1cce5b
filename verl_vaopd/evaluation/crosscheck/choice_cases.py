r"""Invented multiple-choice cases: every way of naming an option, with the right one and with a wrong one.

In a response, @L stands for the letter of the option that it names, @T for its text, @W for the letter of another one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from verl_vaopd.answers.choice import LETTERS
from verl_vaopd.evaluation.crosscheck.case import Case

_LONG = "The figure has many lines and many labels, and " + 8 * "one looks at them, "
NAMING = {
    "letter": "@L",
    "period": "@L.",
    "brackets": "(@L)",
    "right bracket": "@L)",
    "bold": "**@L**",
    "quoted": '"@L"',
    "letter and text": "@L. @T",
    "bold letter and text": "**@L. @T**",
    "letter, colon, text": "@L: @T",
    "option": "Option @L",
    "answer is": "The answer is @L.",
    "answer is, brackets": "The answer is (@L).",
    "answer is, reason": "The correct answer is **@L**. Here is why: the figure shows it quite clearly.",
    "reason after": "@L is right, because the figure shows it quite clearly.",
    "answer, colon": "Answer: @L",
    "answer, full stop": "Answer. @L",
    "answer, bold": "**Answer:** @L",
    "answer, bold letter": "Answer: **@L**",
    "answer, brackets": "Answer: (@L)",
    "answer, newline": "Answer\n@L",
    "answer, heading": "### Answer\n@L",
    "answer element": "<answer>@L</answer>",
    "last word": "Looking at the figure, I choose @L",
    "template": "<Thought process>: <<It follows from the figure>> <Answer>: <<@L>>",
    "box": r"\boxed{@L}",
    "box, text": r"\boxed{\text{@L}}",
    "box in a formula": r"So the choice is $\boxed{@L}$.",
    "box, letter and text": r"\boxed{@L. @T}",
    "thought, box": r"<think>It could be @W...</think> \boxed{@L}",
    "thought, letter": "<think>Is it @W ? No.</think>\n@L",
    "thought, glued": "<think>@W</think>@L",
    "unfinished thought": "<think>I would say @L",
    "text": "@T",
    "text in a sentence": "In the figure one can see that it must be @T",
    "text, capitals": "@U",
    "small letter": "@l",
    "small letter, brackets": "(@l)",
    "either": "@W or @L",
    "letters together": "@W@L",
    "second thoughts": "The answer is @W. No, wait: the answer is @L.",
    "letter, then a paragraph": "@L\nThe figure shows it: what else could it be, given all of its lines and labels?",
    "paragraph, then text": _LONG + "so @T it is.",
    "wide letter": "（@F）",
    "Chinese": "答案：@L",
    "JSON": '{"answer": "@L"}',
    "formula": r"$\text{@L}$",
}
WITHOUT_OPTION = {
    "empty": "",
    "space": " ",
    "no idea": "I do not know.",
    "no idea, longer": "I do not know which one of these it could possibly be, sorry.",
    "refusal": "Cannot determine the answer",
    "refusal, then a letter": "I'm sorry, but without the image provided I can only guess: @L",
    "Z": "Z",
    "all letters": "A, B, C, D",
    "because": "Answer: Because of the light",
    "failed call": "Failed to obtain answer via API.",
    "nan": "nan",
}


@dataclass(frozen=True)
class _Choice:
    """One invented question."""

    question: str
    options: tuple[str, ...]
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


QUESTIONS = {
    "wemath": _Choice("How long are OA and OB?", ("300, 400", "400, 300", "3, 4", "No correct answer"), "C", "B"),
    "ai2d": _Choice("Which is the prey?", ("hawk", "field mouse", "tall grass", "sun"), "B", "D"),
    "mmmu": _Choice("<image 1> What is the price?", ("$6", "$72", "about $8", "$900"), "B", "C"),
    "mmstar": _Choice("Where is the cat?", ("on the suitcase", "under it", "gone", "in the bag"), "D", "C"),
}
_FIRST_OPTION = {
    "word with a capital": "Answer: A bird",
    "article": "A look at the figure shows why",
    "article, then the answer": "A look at the figure shows that it is C",
}
_DIGITS = _Choice("How many are there?", ("1", "10", "100", "two"), "A", "B")
_DIGIT_RESPONSES = {
    "option in a number": "10",
    "option in another number": "There are 1000 of them, one would think, if one counts them",
    "number": "1",
    "number in a sentence": "There is 1",
}
_MISSING = _Choice("What is left?", ("None", "One", "Two", "NA"), "A", "C")
_MISSING_RESPONSES = {
    "option None": "None",
    "option None, letter": "A",
    "option NA": "NA",
    "option NA, letter": "D",
}
_JUDGED: dict[str, tuple[str, dict[str, str | None]]] = {
    "judge finds it": ("the little one", {"choice": "@L"}),
    "judge finds another": ("the little one", {"choice": "@W"}),
    "judge finds none": ("the little one", {"choice": "Z"}),
    "judge names the text": ("the little one", {"choice": "it means @T"}),
    "judge rambles": ("the little one", {"choice": "no idea"}),
    "judge fails": ("the little one", {"choice": None}),
    "judge is not asked": ("(@L)", {"choice": "@W"}),
}


def cases(layout: str) -> list[Case]:
    """The cases of WeMath, AI2D, MMStar and the multiple-choice part of MMMU."""
    found: list[Case] = []
    for benchmark, main in QUESTIONS.items():
        answered = list(_answered(main))
        extras = list(_extras())
        if benchmark == "wemath":
            answered += [*extras[:2], *_truth_table(main)]  # so that its problems have all their steps
        else:
            answered += extras
        if benchmark in ("ai2d", "mmstar"):
            answered += [
                (main, name, main.said(said, main.gold), _replies(main, replies))
                for name, (said, replies) in _JUDGED.items()
            ]
        found += [
            Case(benchmark, name, _fields(benchmark, layout, number, choice), response, replies)
            for number, (choice, name, response, replies) in enumerate(answered)
        ]
    return found


_Answered = tuple[_Choice, str, str, dict[str, str | None]]


def _answered(choice: _Choice) -> Iterator[_Answered]:
    for name, response in NAMING.items():
        yield choice, f"{name}/right", choice.said(response, choice.gold), {}
        yield choice, f"{name}/wrong", choice.said(response, choice.wrong), {}
    for name, response in WITHOUT_OPTION.items():
        yield choice, name, choice.said(response, choice.gold), {}


def _extras() -> Iterator[_Answered]:
    for name, response in _FIRST_OPTION.items():
        yield _DIGITS, name, response, {}
    for name, response in _DIGIT_RESPONSES.items():
        yield _DIGITS, name, response, {}
    for name, response in _MISSING_RESPONSES.items():
        yield _MISSING, name, response, {}


def _truth_table(choice: _Choice) -> Iterator[_Answered]:
    """Every way in which the questions of a problem can be right and wrong."""
    for n in range(_NUM_PROBLEMS):
        for key in _WEMATH_KEYS:
            step = key.rpartition("_")[2]
            is_right = n >> (0 if step == "multi" else int(step)) & 1
            said = "<answer>@L</answer> Answer: @L"  # an answer for every scorer
            yield choice, f"problem {n}, {key}", choice.said(said, choice.gold if is_right else choice.wrong), {}


def _replies(choice: _Choice, replies: dict[str, str | None]) -> dict[str, str | None]:
    return {role: reply and choice.said(reply, choice.gold) for role, reply in replies.items()}


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
    return {"question": choice.question, "options": list(choice.options), "answer": gold}


def _mmmu(layout: str, number: int, choice: _Choice) -> dict[str, Any]:
    shared = {"id": f"validation_Art_{number}", "question": choice.question, "answer": choice.gold}
    if layout == "tsv":
        shared |= {"index": str(number), "split": "validation", "category": "Art", "l2-category": "Art & Design"}
        return {**shared, **choice.columns(), "question_type": "multiple-choice"}
    return {**shared, "options": str(list(choice.options)), "question_type": "multiple-choice"}


def _mmstar(layout: str, number: int, choice: _Choice) -> dict[str, Any]:
    shared = {"answer": choice.gold, "category": ("math", "coarse perception")[number % 2]}
    if layout == "tsv":
        shared |= {"index": str(number), "question": choice.question, "l2_category": "geometry", "bench": "MMBench"}
        return {**shared, **choice.columns()}
    options = ", ".join(f"{letter}: {text}" for letter, text in choice.columns().items())
    return {"index": number, "question": f"{choice.question}\nOptions: {options}", **shared, "l2_category": "geometry"}
