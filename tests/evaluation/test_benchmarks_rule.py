"""Responses as chat models write them, over the benchmarks, by the protocol `rule`; the right answer is in ROWS."""

from collections import Counter

import pytest

from tests.evaluation import published_rows
from verl_vaopd.evaluation.benchmarks import BENCHMARKS
from verl_vaopd.evaluation.benchmarks.ocrbench import FORMULAS


def mathverse(gold, question_type="free-form", choices=""):
    row = {"sample_index": "1", "problem_index": "1", "problem_version": "Text Lite", "question": f"Find it.{choices}"}
    return "mathverse", {**row, "question_type": question_type, "answer": gold}


def mathvista(gold, answer_type, **more):
    row = {"pid": "1", "query": "How much?", "question_type": "free_form", "choices": None, "precision": None}
    return "mathvista", {**row, "answer": gold, "answer_type": answer_type, **more}


def hallusionbench(gold):
    return "hallusionbench", {**published_rows.ROWS["hallusionbench_hf"][1], "gt_answer": gold}


def ocrbench(*golds, kind="Scene Text-centric VQA"):
    return "ocrbench", {"question": "What is written?", "question_type": kind, "answer": list(golds)}


def geo3k(gold):
    return "geo3k", {"problem": "<image>Find x.", "answer": gold}


CHOICES = "\nChoice:\nA. 30^\\circ T\nB. 45^\\circ T\nC. 60^\\circ T\nD. 90^\\circ T"
ROWS = {
    # hawk, mouse, grass, sun; B
    "ai2d": ("ai2d", published_rows.ROWS["ai2d_hf"][1]),
    "mmstar": (
        "mmstar",
        {"question": "How long?\nOptions: A: 12 cm, B: 45 cm, C: 60 cm, D: 75 cm", "answer": "B", "category": "math"},
    ),
    "wemath": (
        "wemath",
        {"ID": "2steps_1", "key": "2steps_1", "question": "How large?", "answer": "B"}
        | {"option": "A. 300, 400;B. 45 cm²; C. 3, 4;D. No correct answer"},
    ),
    "integer": mathvista("14", "integer"),
    "float 0.75": mathvista("0.75", "float", precision=2.0),
    "float 1.2": mathvista("1.2", "float", precision=1.0),
    "list": mathvista("[2014, 2016]", "list"),
    "145 of 4": mathvista("145°", "text", question_type="multi_choice", choices=["135°", "145°", "155°", "125°"]),
    "no of 2": mathvista("No", "text", question_type="multi_choice", choices=["Yes", "No"]),
    "letter": mathverse("B", "multi-choice", CHOICES),
    "letter in brackets": mathverse("(B)", "multi-choice", CHOICES),
    "text of a choice": mathverse("45 ^\\circ T", "multi-choice", CHOICES),
    "two letters": mathverse("B\nD", "multi-choice", CHOICES),
    "without choices": mathverse("B", "multi-choice"),
    "twice": mathverse("-4.9\n-4.9"),
    "degrees": mathverse("45^\\circ "),
    "bearing": mathverse("118掳T"),
    "compass": mathverse("S 23.5 ^\\circ W"),
    "length": mathverse("12\\,\\text{cm}"),
    "named area": mathverse("Area $=9 \\pi \\mathrm{cm}^{2}$"),
    "abbreviated name": mathverse("Total S.A. $=3222.80 \\mathrm{~mm}^{2}$"),
    "named point": mathverse("Center $=(20,10)$"),
    "name last": mathverse("$5=s$"),
    "sign first": mathverse("=\\frac{7}{4}"),
    "named number": mathverse("slope =-4"),
    "circle": mathverse("(x+3)^2+(y+3)^2=9"),
    "inequality": mathverse("$y \\leq 2 x+3$"),
    "union": mathverse("$[-5,-3) \\cup(-3,5]$"),
    "point": mathverse("$\\left(\\frac{\\sqrt{2}}{2}, \\frac{\\sqrt{2}}{2}\\right)$"),
    "word": mathverse("even"),
    "surd": mathverse("4+4\\sqrt{3}"),
    "speed": mathverse("$10km / h$"),
    "ratio": mathverse("1:64"),
    "sentence": mathverse("domain: [-4, 0) and range: (-3, 1]"),
    "yes": hallusionbench("1"),
    "no": hallusionbench("0"),
    "mmmu": ("mmmu", published_rows.ROWS["mmmu_hf_choice"][1]),  # $6, $7, $8; B
    "mmmu open": ("mmmu", published_rows.ROWS["mmmu_hf_open"][1]),  # 24/7 or 3.429
    "CENTRE": ocrbench("CENTRE"),
    "price": ocrbench("$5.99"),
    "quote": ocrbench("O'Reilly's"),
    "digits": ocrbench("01234", kind="Digit String Recognition"),
    "formula": ocrbench("y _ { 2 } = - 1\n", "y_2 = - 1\n", kind=FORMULAS),
    "inequality seen": ocrbench("T _ n \\leq 4 c m\n", kind=FORMULAS),
    "root": geo3k("4 \\sqrt { 3 }"),
    "12": geo3k("12"),
}

RIGHT = [
    # A letter, marked up in all the ways that chat models like.
    ("ai2d", "**B. mouse**"),
    ("ai2d", "B) mouse"),
    ("ai2d", "The correct answer is **mouse**."),
    ("ai2d", "**Answer: B**"),
    ("ai2d", "✅ **Correct Answer: B. mouse**"),
    ("ai2d", "### Final Answer:\n\n**B. mouse**"),
    ("ai2d", "So the answer is:\n\n$$\n\\boxed{B}\n$$\n"),
    ("ai2d", "<answer>\nB. mouse\n</answer>"),
    ("ai2d", "The correct option is **B**.\n\nExplanation: the hawk (A) eats mice."),
    ("ai2d", "The prey is the mouse, so the solution is (B)."),
    ("ai2d", "<think>A hunts B. So it is A?</think>\n\nThe prey is the mouse.\n\nAnswer: B"),
    # The same in Chinese, with full-width characters.
    ("ai2d", "答案：（Ｂ）"),
    ("ai2d", "正确答案是 **B. mouse**。"),
    ("ai2d", "因此，正确选项是 B。"),
    ("ai2d", "故选：B"),
    ("ai2d", "所以选B。"),
    # Letters, values, both.
    ("mmstar", "\\boxed{45\\,\\text{cm}}"),
    ("mmstar", "\\boxed{\\textbf{(B)}\\ 45}"),
    ("mmstar", "\\boxed{\\text{B: 45 cm}}"),
    ("mmstar", "\\boxed{\\rm B}"),
    ("mmstar", "Answer: **B** (45 cm)"),
    ("mmstar", "**45 cm** (Option B)"),
    ("mmstar", "The length is 45 cm, which corresponds to option B."),
    ("mmstar", "Thus, the correct choice is **B: 45 cm**."),
    ("mmstar", "Hence the answer is (B) 45 cm. Note that A is wrong."),
    ("mmstar", "Answer: A\nActually, no. Answer: B"),
    ("mmstar", "\\boxed{A} is too short, so \\boxed{B}"),
    ("mmstar", "\\[ \\boxed{B} \\]\n\nLet me know if you want A, C and D explained."),
    # The template that We-Math asks for, and near misses of it.
    ("wemath", "<Thought process>: <<The answer is A?>>\n<Answer>: <<B>>"),
    ("wemath", "**<Answer>**: <<B>>"),
    ("wemath", "<Answer>: <<B. 45 cm²>>"),
    ("wemath", "<Answer>: <<45 cm^2>>"),
    ("wemath", "<Answer>: \\boxed{B}"),
    # Numbers.
    ("integer", "The answer is **14 cm²**."),
    ("integer", "\\boxed{14\\text{ people}}"),
    ("integer", "The final answer is:\n\n**14**"),
    ("integer", "Answer: 14.0"),
    ("integer", "答案是１４"),
    ("float 0.75", "\\boxed{\\frac{3}{4}}"),
    ("float 0.75", "Answer: 0.754"),
    ("float 1.2", "d ≈ **1.2 cm**"),
    ("float 1.2", "Answer: approximately 1.24 m"),
    ("list", "\\boxed{2014 \\text{ and } 2016}"),
    ("list", "Answer: [2014, 2016]"),
    ("145 of 4", "The answer is $145^{\\circ}$."),
    ("145 of 4", "Correct answer: **(B) 145°**"),
    ("no of 2", "No, it is not."),
    ("no of 2", "**(B) No**"),
    # Golds of MathVerse in their many forms.
    ("letter", "\\boxed{45^\\circ T}"),
    ("letter", "B. 45°T"),
    ("letter in brackets", "Answer: B"),
    ("text of a choice", "Answer: B"),
    ("text of a choice", "\\boxed{45^\\circ \\mathrm{T}}"),
    ("two letters", "\\boxed{B, D}"),
    ("two letters", "Answer: D and B"),
    ("without choices", "**Answer:** (B)"),
    ("twice", "\\boxed{-4.9}"),
    ("degrees", "45 degrees"),
    ("degrees", "\\angle A = 45^\\circ"),
    ("bearing", "\\boxed{118^\\circ T}"),
    ("compass", "\\boxed{S23.5^\\circ W}"),
    ("length", "\\boxed{12\\,\\text{cm}}"),
    ("length", "\\frac{1}{2} \\times 24 = 12 \\text{ cm}"),
    ("named area", "\\boxed{9\\pi \\text{ cm}^2}"),
    ("abbreviated name", "3222.80 mm²"),
    ("named point", "\\boxed{(20, 10)}"),
    ("name last", "\\boxed{5}"),
    ("sign first", "\\boxed{\\dfrac{7}{4}}"),
    ("named number", "The slope is $-4$."),
    ("circle", "$(x + 3)^2 + (y + 3)^2 = 9$"),
    ("inequality", "\\boxed{y \\le 2x + 3}"),
    ("union", "\\boxed{[-5, -3) \\cup (-3, 5]}"),
    ("point", "\\boxed{\\left( \\frac{1}{\\sqrt{2}}, \\frac{1}{\\sqrt{2}} \\right)}"),
    ("word", "The function is **even**."),
    ("surd", "\\boxed{4(1+\\sqrt{3})}"),
    ("speed", "\\boxed{10 \\text{ km/h}}"),
    ("ratio", "\\boxed{\\frac{1}{64}}"),
    ("sentence", "Domain: $[-4, 0)$ and Range: $(-3, 1]$"),
    # Yes and no.
    ("yes", "**Yes**, the left circle is the same size."),
    ("yes", "Final answer: **Yes** ✅"),
    ("yes", "Yes\n\nThe circles are the same; no other explanation fits."),
    ("no", "Based on the image, **no**."),
    # Dollars that are no mathematics, and open questions.
    ("mmmu", "**B. $7**"),
    ("mmmu", "\\boxed{\\$7}"),
    ("mmmu open", "\\boxed{\\frac{24}{7}}"),
    ("mmmu open", "The ratio is **3.429**."),
    # Text that was read.
    ("CENTRE", 'The word in the image is **"CENTRE"**.'),
    ("price", "**$5.99**"),
    ("quote", "O’Reilly’s"),
    ("digits", "The number in the image is 01234."),
    ("formula", "$$y_2 = -1$$"),
    ("formula", "The expression in the image is: $y_2 = -1$."),
    ("inequality seen", "\\[ T_n \\le 4\\,\\text{cm} \\]"),
    ("root", "\\boxed{4\\sqrt{3}}"),
    ("12", "\\boxed{12} is it; not \\boxed{13"),
    ("12", "\\boxed{\\boxed{12}}"),
    ("12", "\\boxed{x = 12}"),
]
WRONG = [
    ("ai2d", "<think>The answer is B"),
    ("ai2d", "Let us look at the options. The first is (B)"),
    ("ai2d", "Now consider option B"),
    ("ai2d", "The right angle of the figure is B."),
    ("ai2d", "the mouse, or the hawk (B)"),
    ("mmstar", "\\boxed{A, B}"),
    ("mmstar", "12 cm (Option B)"),
    ("mmstar", "\\boxed{B. 60 cm}"),
    ("wemath", "<Thought process>: <<45 cm² is B. So the"),
    ("integer", "Answer: 14.7"),
    ("integer", "\\boxed{fourteen}"),
    ("float 0.75", "Answer: 75%"),
    ("no of 2", "Yes and no"),
    ("two letters", "Answer: B"),
    ("twice", "-9.8"),
    ("bearing", "118 cm"),
    ("named point", "(10, 20)"),
    ("name last", "t = 5"),
    ("length", "\\frac{1}{2} \\times 26 = 12"),
    ("named number", "The slope is not -4"),
    ("yes", "No.\n\nWait: yes"),
    ("yes", "They look alike."),
    ("formula", "y_2 = -10"),
    ("formula", "The formula is: xy_2 = -1"),
    ("12", "The answer is 12"),
    ("12", "<think>\\boxed{12}"),
]


@pytest.mark.parametrize(("row", "response"), RIGHT)
def test_right(row, response):
    name, fields = ROWS[row]
    assert BENCHMARKS[name].score(fields, response, "rule").hit == 1.0


@pytest.mark.parametrize(("row", "response"), WRONG)
def test_wrong(row, response):
    name, fields = ROWS[row]
    assert BENCHMARKS[name].score(fields, response, "rule").hit == 0.0


def test_each_row_is_asked_and_each_case_is_another():
    cases = Counter([*RIGHT, *WRONG])
    assert {row for row, _ in cases} == set(ROWS)
    assert max(cases.values()) == 1
    assert len(cases) >= 100
