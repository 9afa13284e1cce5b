"""Multiple choice by the protocol `rule`."""

import pytest

from verl_vaopd.answers.choice import chosen_letter, options_in_text

ANGLES = {"A": "30°", "B": "45°", "C": "60°", "D": "90°"}
WORDS = {"A": "a red bird", "B": "the blue bird", "C": "a bird", "D": "no bird"}
LENGTHS = {"A": "2", "B": "2\\sqrt{3}", "C": "3", "D": "\\frac{1}{2}"}
LETTERS = {"A": "B", "B": "D", "C": "A", "D": "C"}
BARE = dict.fromkeys("ABCD", "")

CASES = [
    # The letter, however it is dressed up.
    ("B", ANGLES, "B"),
    ("(B)", ANGLES, "B"),
    ("B.", ANGLES, "B"),
    ("[B]", ANGLES, "B"),
    ("b", ANGLES, "B"),
    ("**B**", ANGLES, "B"),
    ("`B`", ANGLES, "B"),
    ("Ｂ", ANGLES, "B"),
    ("Option B", ANGLES, "B"),
    ("The correct answer is B.", ANGLES, "B"),
    ("Therefore, the correct option is: **(B)**", ANGLES, "B"),
    ("<answer>B</answer>", ANGLES, "B"),
    ("<Thought process>: <<A is too small>> <Answer>: <<B>>", ANGLES, "B"),
    ("答案是 B。", ANGLES, "B"),
    ("So option C is correct.", ANGLES, "C"),
    ("(C) is the right answer, A is not.", ANGLES, "C"),
    ("I see that C is the correct answer here", ANGLES, "C"),
    ("Since the angle at A is right, I do not know.", ANGLES, None),
    ("I looked.\n\nB", ANGLES, "B"),
    ("The length is half of 90°, so it is option B.", ANGLES, "B"),
    ("Half of 90°, which corresponds to **(B)**.", ANGLES, "B"),
    ("We can rule out (A). So it must be (C).\n", ANGLES, "C"),
    ("Half of 90°, so it is option E.", ANGLES, None),
    ("Let us check whether it is option B", ANGLES, None),
    ("The vertex of the right angle is B.", ANGLES, None),
    ("It is (B).\nOr so I thought.", ANGLES, None),
    ("正确选项为：C", ANGLES, "C"),
    ("综上，应选 C", ANGLES, "C"),
    ("No, they differ.", {"A": "Yes", "B": "No"}, "B"),
    ("Yes and no", {"A": "Yes", "B": "No"}, None),
    ("No, they differ.", {"A": "Yes", "B": "No", "C": "Perhaps"}, None),
    # In a box.
    (r"\boxed{B}", ANGLES, "B"),
    (r"\boxed{\text{B}}", ANGLES, "B"),
    (r"\boxed{\mathbf{B}}", ANGLES, "B"),
    (r"\boxed{A} no: \boxed{B}", ANGLES, "B"),
    (r"\boxed{B} is the answer: A", ANGLES, "B"),
    (r"\boxed{B. 45^\circ}", ANGLES, "B"),
    (r"\boxed{E}", ANGLES, None),
    # Letter and text.
    ("B. 45°", ANGLES, "B"),
    ("(B) 45", ANGLES, "B"),
    ("B 45°", ANGLES, "B"),
    ("Answer: B because it is half of 90", ANGLES, "B"),
    ("Answer: B. The angle is half of the other one.", ANGLES, "B"),
    ("45° (B)", ANGLES, "B"),
    ("**45°** (Option B)", ANGLES, "B"),
    ("60° (B)", ANGLES, None),
    ("B. 60°", ANGLES, None),
    ("Answer: B. 60°", ANGLES, None),
    ("The answer is 45 degrees. So much for that.", ANGLES, "B"),
    # Text alone.
    ("Answer: 45°", ANGLES, "B"),
    (r"\boxed{45}", ANGLES, "B"),
    (r"\boxed{\sqrt{12}}", LENGTHS, "B"),
    ("Answer: The blue bird.", WORDS, "B"),
    ("Answer: bird", WORDS, None),
    (r"\boxed{46}", ANGLES, None),
    # Not a choice.
    ("ABC", ANGLES, None),
    ("A or B", ANGLES, None),
    ("Answer: A, B", ANGLES, None),
    ("Answer: A/B", ANGLES, None),
    ("Answer: A bird in the hand", WORDS, None),
    ("Because", ANGLES, None),
    ("It could be A, it could be B.", ANGLES, None),
    ("", ANGLES, None),
    # In other words.
    ("The correct option letter is B.", ANGLES, "B"),
    ("The correct option letter is B: 45°. The others do not add up.", ANGLES, "B"),
    ("The option letter is B.", ANGLES, "B"),
    ("The best choice is B.", ANGLES, "B"),
    ("The answer to the question is (B) 45°.", ANGLES, "B"),
    ("The answer is B(45°).", ANGLES, "B"),
    ("The answer is B(60°).", ANGLES, None),
    ("Ans: B", ANGLES, "B"),
    ("答案是B（45°）", ANGLES, "B"),
    ("正确答案是选项B。", ANGLES, "B"),
    ("所以∠A等于45°，选项(B) 45°。", ANGLES, "B"),
    ("The angle is (B) 45°.", ANGLES, "B"),
    ("So, **B. 45°** is the correct answer.", ANGLES, "B"),
    ("B) 45°\nIt is half of 90°.", ANGLES, "B"),
    ("B\n\nIt is half of the right angle.", ANGLES, "B"),
    ("Therefore the angle is **(B) 45°**.\n\nI hope this helps!", ANGLES, "B"),
    ("Answer: B<|im_end|>", ANGLES, "B"),
    ("The angle at C is 45°.", ANGLES, "B"),
    ("False. In F major it is G.", {"A": "True", "B": "False"}, "B"),
    # Sentences that disagree, or deny; the options said again.
    ("It is the blue bird. So it is a red bird.", WORDS, "A"),
    ("Therefore, it is the blue bird. One sees a red bird.", WORDS, None),
    ("The bird is not the blue bird.", WORDS, None),
    ("I cannot say.\n(A) 30°\n(B) 45°\n(C) 60°\n(D) 90°", ANGLES, None),
    ("Option (D) is the same as the picture.", ANGLES, None),
    ("(B) 45° (C) 60°", ANGLES, None),
    ("Answer: B. 45°; C. 60°", ANGLES, None),
    # Lists: units left out, in the order of the option.
    ("\\boxed{40, 25}", {"A": "40°, 25°", "B": "25°, 40°"}, "A"),
    ("The answer is >.", {"A": "<", "B": ">", "C": "="}, "B"),
    # After the thinking.
    (r"<think>A</think> \boxed{B}", ANGLES, "B"),
    ("The answer is A.</think>B", ANGLES, "B"),
    ("<think>The answer is A.", ANGLES, None),
    # Options that are letters, or unknown.
    ("B", LETTERS, "B"),
    ("Answer: B. D", LETTERS, "B"),
    ("Answer: B. A", LETTERS, None),
    ("Answer: (D)", BARE, "D"),
    ("Answer: E", BARE, None),
    ("(b)", {"A": "(a)", "B": "(c)", "C": "(b)"}, "C"),
]


@pytest.mark.parametrize(("response", "options", "letter"), CASES)
def test_chosen_letter(response, options, letter):
    assert chosen_letter(response, options) == letter


def test_enough_cases():
    assert len(CASES) >= 40


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("A. 3, 4;B. 4, 3; C. none", {"A": "3, 4", "B": "4, 3", "C": "none"}),
        ("How long?\nChoices:\nA:2\nB:2√{3}\nC:4", {"A": "2", "B": "2√{3}", "C": "4"}),
        ("Which?\nOptions: A: It is., B: It is not., C: yes", {"A": "It is.", "B": "It is not.", "C": "yes"}),
        ("(A) 135°\n(B) 140°", {"A": "135°", "B": "140°"}),
        ("A. see B: no. Choices: A. 1 B. 2", {"A": "1", "B": "2"}),
        ("A、一；B、二", {"A": "一", "B": "二"}),
        ("What is in triangle ABC?", {}),
        ("From A. Find it.\nChoice:\nA. 90°\nB. 180°", {"A": "90°", "B": "180°"}),
        ("A. alone", {}),
        ("", {}),
    ],
)
def test_options_in_text(text, options):
    assert options_in_text(text) == options
