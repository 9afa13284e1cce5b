"""The official parsers with their oddities, as their benchmarks' docstrings list them; judges are told what to say."""

import pytest

from tests.evaluation.published_rows import ROWS
from verl_vaopd.evaluation.benchmark import Verdict
from verl_vaopd.evaluation.benchmarks import BENCHMARKS
from verl_vaopd.evaluation.benchmarks.ai2d import AI2D
from verl_vaopd.evaluation.benchmarks.mmmu import MMMU
from verl_vaopd.evaluation.benchmarks.mmmu_official import open_is_right, read_choice, read_open
from verl_vaopd.evaluation.benchmarks.vlmevalkit import infer_option


class Judge:
    """Replies in turn, and keeps what it was asked."""

    def __init__(self, *replies: str | None) -> None:
        self.replies = list(replies)
        self.prompts: list[str] = []

    def __call__(self, prompt: str) -> str | None:
        self.prompts.append(prompt)
        return self.replies.pop(0)


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("<Thought process>: <<x>> <Answer>: <<C>>", "C"),
        ("Answer: C", "C"),
        ("Answer\nC", "C"),
        ("Answer: C. 3, 4", "C"),
        ("C", "C"),
        (" C is right", "C"),
        ("Answer: A. Answer: C", "C"),
        ("answer: C", None),
        ("**Answer**: C", None),
        ("Answer: **C**", None),
        ("Answer: (C)", None),
        (r"Answer: \boxed{C}", None),
        ("Answer: Because", "B"),
        ("Answer: A bird", "A"),
        ("Answer: I", None),
        ("<think>C</think>C", None),  # without "<" and ">" it begins with "think"
        ("Answer:", None),
        ("", None),
    ],
)
def test_wemath(response, letter):
    verdict = BENCHMARKS["wemath"].score(ROWS["wemath_hf"][1], response, "official")
    assert verdict == Verdict(letter, float(letter == "C"))


OPTIONS = {"A": "red", "B": "blue car", "C": "1", "D": "10"}


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("B", "B"),
        ("(B)", "B"),
        ("B.", "B"),
        ("The answer is B.", "B"),
        (r"\boxed{B}", "B"),
        (r"\boxed{\text{B}}", "B"),
        ("B is right for it is of a deeper tone", None),  # not among the last four words
        ("A car: B", None),  # two letters
        ("It shows A and B", None),
        ("the answer is **c** as A and B are not", "C"),
        ("the correct answer is e", None),
        ("The car is red", "A"),
        ("A blue car drives off now", "B"),  # "A" is too far from the end, so the text decides
        ("bored", "A"),  # inside a word
        ("10", None),  # also contains 1
        ("1", "C"),
        ("red, or a blue car", None),
        ("red " * 20, None),  # more than twice as long as all options
        ("I can't process this file. B", "Z"),
        ("Failed to obtain answer via API. B", None),
        ("Z", "Z"),
        ("<think>A</think> B", "B"),  # "<think>A</think>" is one word
        ("<think> A </think> B", None),
        ("", None),
    ],
)
def test_vlmevalkit(response, letter):
    assert infer_option(response, OPTIONS) == letter


def test_vlmevalkit_without_judge_is_exact_matching():
    assert BENCHMARKS["ai2d"].score(ROWS["ai2d_hf"][1], "the little one", "official") == Verdict(None, 0.0)


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("B", Verdict("B", 1.0)),
        ("Letter: B", Verdict("B", 1.0)),
        ("C", Verdict("C", 0.0)),
        ("Z", Verdict(None, 0.0)),
        ("no idea", Verdict(None, None)),
        ("", Verdict(None, None)),
        (None, Verdict(None, None)),
    ],
)
def test_vlmevalkit_asks_the_judge_about_what_it_does_not_find(reply, verdict):
    for layout in ("ai2d_hf", "mmstar_tsv", "mmstar_hf"):
        name, fields, _ = ROWS[layout]
        judge = Judge(reply)
        assert BENCHMARKS[name].score(fields, "the little one", "official", judge=judge) == verdict
        (prompt,) = judge.prompts
        assert "the little one" in prompt
        assert fields["question"] in prompt


def test_vlmevalkit_does_not_ask_about_what_it_finds():
    judge = Judge()
    assert BENCHMARKS["ai2d"].score(ROWS["ai2d_hf"][1], "(C)", "official", judge=judge) == Verdict("C", 0.0)
    assert judge.prompts == []


def test_the_random_fallback_is_seeded_and_never_stands_in_for_a_failed_call():
    fields, guessing = ROWS["ai2d_hf"][1], AI2D(random_fallback=True)
    for seed in range(3):
        verdicts = [guessing.score(fields, "?", "official", judge=Judge("no idea"), seed=seed) for _ in range(2)]
        assert verdicts[0] == verdicts[1]
        assert verdicts[0].hit in (0.0, 1.0)
    guesses = {guessing.score(fields, "?", "official", judge=Judge("no idea"), seed=seed).parsed for seed in range(40)}
    assert guesses == {"A", "B", "C", "D", None}
    assert guessing.score(fields, "?", "official", judge=Judge(None)) == Verdict(None, None)


MMMU_OPTIONS = {"A": "$6", "B": "$7", "C": "$8"}


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("B", "B"),
        ("B.", "B"),
        ("(B)", "B"),
        ("(A) but B in the end", "A"),  # brackets come first
        ("A or B", "B"),
        ("It is B in the end", "B"),
        ("It is **B** in the end", None),
        (r"\boxed{B}", None),
        ("A sum like that costs more than that", "A"),  # the edge counts as a space
        ("the price of the thing is $7", "B"),
        ("it costs $7", None),  # too few words
        ("first $6 and then $7 in all", "B"),
        ("<think>(A)</think> B", "A"),
        ("", None),
    ],
)
def test_mmmu_choice(response, letter):
    assert read_choice(response, MMMU_OPTIONS) == letter


@pytest.mark.parametrize(
    ("response", "golds", "right"),
    [
        ("3.429", ["24/7", "3.429"], True),
        ("The ratio is 3.43", ["24/7", "3.429"], True),  # both are rounded to two decimals
        ("The ratio is 3.4", ["24/7", "3.429"], False),
        ("so x = 1,234.5", ["1234.5"], True),
        ("so x = 2e3", ["2000"], True),
        ("It is 3\nIt is 4\nIt is 5", ["4"], True),  # any line will do
        ("The state is Florida", ["Tampa", "Florida"], True),
        ("The state is Floridada", ["Tampa", "Florida"], True),  # a part of it will do
        ("b", ["B"], True),
        (r"\boxed{B}", ["B"], False),
        ("so the answer is B", ["B"], True),
        ("-4", ["4"], False),
        ("", ["4"], False),
    ],
)
def test_mmmu_open(response, golds, right):
    assert open_is_right(read_open(response), golds) is right


def test_mmmu_open_takes_the_shortest_tail_of_each_line():
    assert read_open("It is so that x is 5") == [5.0]
    assert read_open("So it is long.\nThe length = 5 m") == ["long.", "5 m", 5.0]
    assert read_open("no indicator") == ["no indicator"]


def test_mmmu_draws_only_where_it_is_told_to():
    fields = ROWS["mmmu_hf_choice"][1]
    assert BENCHMARKS["mmmu"].score(fields, "?", "official") == Verdict(None, 0.0)
    drawn = {MMMU(random_fallback=True).score(fields, "?", "official", seed=seed).parsed for seed in range(30)}
    assert drawn == {"A", "B", "C"}
    assert MMMU(random_fallback=True).score(fields, "(C)", "official").parsed == "C"
    assert BENCHMARKS["mmmu"].score(fields, "?", "rule", seed=1) == Verdict(None, 0.0)


@pytest.mark.parametrize(
    ("layout", "response", "replies", "verdict"),
    [
        # Needs no judge.
        ("mathvista_hf_choice", "145°", [], Verdict("145°", 1.0)),
        ("mathvista_tsv_integer", "14", [], Verdict("14", 1.0)),
        ("mathvista_hf_float", "1.24", [], Verdict("1.2", 1.0)),
        ("mathvista_hf_float", "nan", [], Verdict("nan", 0.0)),
        ("mathvista_hf_choice", "", [], Verdict("135°", 0.0)),  # of two equally short choices the first
        ("mathvista_tsv_integer", "", [], Verdict(None, 0.0)),
        # The judge extracts.
        ("mathvista_hf_choice", "so (B)", ["B"], Verdict("145°", 1.0)),
        ("mathvista_hf_choice", "so (B)", ["Final answer: B"], Verdict("145°", 1.0)),
        ("mathvista_hf_choice", "so (B)", ["(b) 145"], Verdict("145°", 1.0)),
        ("mathvista_hf_choice", "so (B)", ["(A) or (B)"], Verdict("135°", 0.0)),
        ("mathvista_hf_choice", "so (B)", ["145"], Verdict("145°", 1.0)),
        ("mathvista_hf_choice", "so (B)", ["rubbish 45°"], Verdict("145°", 1.0)),
        ("mathvista_tsv_integer", "fourteen", ["14.7"], Verdict("14", 1.0)),
        ("mathvista_tsv_integer", "fourteen", ["14 people"], Verdict(None, 0.0)),
        ("mathvista_tsv_integer", "fourteen", ["inf"], Verdict(None, 0.0)),
        ("mathvista_hf_float", "1.2 m", ["1.15"], Verdict("1.1", 0.0)),
        ("mathvista_hf_float", "1.2 m", ["1.25"], Verdict("1.2", 1.0)),
        ("mathvista_hf_float", "1.2 m", [None], Verdict(None, None)),
        ("mathvista_hf_float", "1.2 m", [""], Verdict(None, None)),
    ],
)
def test_mathvista(layout, response, replies, verdict):
    name, fields, _ = ROWS[layout]
    judge = Judge(*replies)
    assert BENCHMARKS[name].score(fields, response, "official", judge=judge) == verdict
    assert judge.replies == []
    assert all(response in prompt and BENCHMARKS[name].prompt(fields) in prompt for prompt in judge.prompts)


def test_mathvista_lists_must_be_spelled_as_published():
    fields = {**ROWS["mathvista_tsv_integer"][1], "answer_type": "list", "answer": "[2014, 2016]"}
    for reply, hit in (("[2014, 2016]", 1.0), ("[2014,2016]", 0.0)):
        assert BENCHMARKS["mathvista"].score(fields, "two years", "official", judge=Judge(reply)).hit == hit
    assert BENCHMARKS["mathvista"].score(fields, "\\boxed{[2014,2016]}", "rule").hit == 1.0


def test_mathvista_precision_of_a_row_without_one_is_that_of_its_answer():
    fields = {column: value for column, value in ROWS["mathvista_hf_float"][1].items() if column != "precision"}
    assert BENCHMARKS["mathvista"].score(fields, "1.24", "official").hit == 1.0
    assert BENCHMARKS["mathvista"].score(fields, "\\boxed{1.24}", "rule").hit == 1.0


@pytest.mark.parametrize(
    ("replies", "verdict"),
    [
        (["22.3 m"], Verdict("22.3 m", 1.0)),  # equal texts are not compared by the judge
        (["22.3 meters", "1"], Verdict("22.3 meters", 1.0)),
        (["Final answer: 22 m", "Digit: 0"], Verdict("22 m", 0.0)),
        (["22 m", "yes"], Verdict("22 m", None)),
        (["22 m", None], Verdict("22 m", None)),
        ([None], Verdict(None, None)),
    ],
)
def test_mathverse(replies, verdict):
    judge = Judge(*replies)
    assert BENCHMARKS["mathverse"].score(ROWS["mathverse_free"][1], "so 22", "official", judge=judge) == verdict
    assert judge.replies == []
    assert "so 22" in judge.prompts[0]
    assert all("Find d." in prompt and "22.3 m" in prompt for prompt in judge.prompts[1:])


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("correct", Verdict("correct", 1.0)),
        ("Correct.", Verdict("correct", 1.0)),
        ("Word: correct", Verdict("correct", 1.0)),
        ("incorrect", Verdict("incorrect", 0.0)),
        ("This is incorrect, not correct", Verdict("incorrect", 0.0)),
        ("unclear", Verdict("unclear", 0.0)),
        ("I cannot say", Verdict("unclear", 0.0)),
        (None, Verdict(None, None)),
    ],
)
def test_hallusionbench(reply, verdict):
    for layout, reference in (("hallusionbench_hf", "They are equally long."), ("hallusionbench_tsv", "Yes")):
        judge = Judge(reply)
        assert BENCHMARKS["hallusionbench"].score(ROWS[layout][1], "Hm.", "official", judge=judge) == verdict
        assert f"<reference>\n{reference}\n</reference>" in judge.prompts[0]
        assert "Hm." in judge.prompts[0]


def test_hallusionbench_without_figure_may_be_unclear():
    fields = {**ROWS["hallusionbench_hf"][1], "category": "VS"}
    assert BENCHMARKS["hallusionbench"].score(fields, "Hm.", "official", judge=Judge("unclear")).hit == 1.0
    assert BENCHMARKS["hallusionbench"].score(fields, "Hm.", "official", judge=Judge("incorrect")).hit == 0.0


TRAP = "<think>It could be A...</think> \\boxed{B}"


def test_a_thought_and_a_box_break_official_parsers_and_not_the_rule():
    """A response that ends with the right letter, B."""
    rows = {
        "wemath": {**ROWS["wemath_hf"][1], "answer": "B"},
        "mmmu": ROWS["mmmu_hf_choice"][1],
        "ai2d": ROWS["ai2d_hf"][1],
        "mmstar": ROWS["mmstar_hf"][1],
    }
    hits = {
        name: [BENCHMARKS[name].score(row, TRAP, p).hit for p in ("rule", "official")] for name, row in rows.items()
    }
    assert hits == {"wemath": [1.0, 0.0], "mmmu": [1.0, 0.0], "ai2d": [1.0, 0.0], "mmstar": [1.0, 0.0]}
