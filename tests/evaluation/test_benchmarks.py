"""Every benchmark in every published layout: fields, prompts, golds, names, and what is not scored."""

import pytest

from tests.evaluation.published_rows import NEEDS_JUDGE, ROWS
from verl_vaopd.evaluation.benchmark import Verdict
from verl_vaopd.evaluation.benchmarks import BENCHMARKS, PAPER
from verl_vaopd.evaluation.tables import AVERAGES

layouts = pytest.mark.parametrize("layout", ROWS)


def test_every_benchmark_has_a_row_and_a_title_of_its_own():
    assert {name for name, _, _ in ROWS.values()} == set(BENCHMARKS)
    titles = [benchmark.title for benchmark in BENCHMARKS.values()]
    assert len({*titles, *AVERAGES}) == len(BENCHMARKS) + len(AVERAGES)


def test_the_papers_eight_are_published_and_averaged_as_there():
    assert PAPER == ("wemath", "mathvista", "mathverse", "hallusionbench", "ai2d", "mmmu", "mmstar", "ocrbench")
    assert {"Math avg": list(PAPER[:3]), "Visual avg": list(PAPER[3:])} == AVERAGES
    assert all(BENCHMARKS[name].hub_id and BENCHMARKS[name].tsv for name in PAPER)


@layouts
def test_the_right_response_is_right_and_changes_no_field(layout):
    name, fields, response = ROWS[layout]
    before = repr(fields)
    verdict = BENCHMARKS[name].score(fields, response, "rule")
    assert verdict.hit == 1.0
    assert verdict.parsed
    if "official" in BENCHMARKS[name].protocols:
        hit = BENCHMARKS[name].score(fields, response, "official").hit
        assert hit == (None if name in NEEDS_JUDGE else 1.0)
    assert repr(fields) == before


@layouts
def test_nothing_is_unparsed_and_it_and_another_answer_are_wrong_by_rule(layout):
    name, fields, _ = ROWS[layout]
    for response in ("", None, "<think>only thoughts"):
        assert BENCHMARKS[name].score(fields, response, "rule") == Verdict(None, 0.0)
    assert BENCHMARKS[name].score(fields, "\\boxed{no answer at all}", "rule").hit == 0.0


@pytest.mark.parametrize("layout", [layout for layout, (name, _, _) in ROWS.items() if name in NEEDS_JUDGE])
def test_no_judge_or_a_failed_one_leaves_the_response_unscored(layout):
    name, fields, response = ROWS[layout]
    for judge in (None, lambda prompt: None, lambda prompt: "  "):
        assert BENCHMARKS[name].score(fields, response, "official", judge=judge) == Verdict(None, None)


@layouts
def test_a_missing_gold_is_named(layout):
    name, fields, response = ROWS[layout]
    without = {column: value for column, value in fields.items() if "answer" not in column and column != "reward_model"}
    with pytest.raises(ValueError, match=r"(?i)answer|reward_model"):
        BENCHMARKS[name].score(without, response, "rule")


@pytest.mark.parametrize("name", ["geo3k", "tinygeo", "custom"])
def test_no_official_protocol_without_an_official_parser(name):
    with pytest.raises(ValueError, match=f"'official'.*'rule' for {name}"):
        BENCHMARKS[name].score({"answer": "1"}, "1", "official")


def test_an_unknown_protocol_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'strict'.*'rule' or 'official'"):
        BENCHMARKS["ai2d"].score(ROWS["ai2d_hf"][1], "B", "strict")


PROMPTS = {
    "wemath_hf": (
        "Now, we require you to solve a multiple-choice math question. Please briefly describe your thought process "
        "and provide the final answer(option).\nQuestion: How long is OA?\n"
        "Option: A. 300, 400;B. 400, 300; C. 3, 4;D. No correct answer\n"
        "Regarding the format, please answer following the template below, and be sure to include two <> symbols:\n"
        "<Thought process>: <<your thought process>> <Answer>: <<your option>>"
    ),
    "wemath_tsv": (
        "Think.\nQuestion: How long is OA?\nOption: A. 300, 400; B. 400, 300; C. 3, 4; D. No correct answer\n"
        "Regarding the format, please answer following the template below, and be sure to include two <> symbols:\n"
        "<Thought process>: <<your thought process>> <Answer>: <<your option>>"
    ),
    "mathvista_hf_float": "Hint: One decimal place.\nQuestion: How far?",
    "mathvista_tsv_integer": "Hint: An integer.\nQuestion: How many?",
    "mathverse_choice": "Please answer directly.\nQuestion: As shown, BC is ()",
    "hallusionbench_hf": "Are they equally long?",
    "ai2d_hf": (
        "Question: Which is the prey?\nOptions:\nA. hawk\nB. mouse\nC. grass\nD. sun\n"
        "Please select the correct answer from the options above. \n"
    ),
    "mmmu_hf_open": "Question: What is the ratio in <image 1>?\n",
    "mmmu_tsv_choice": (
        "Question: Who made <image 1>?\nOptions:\nA. Goya\nB. Klee\n"
        "Please select the correct answer from the options above. \n"
    ),
    "mmstar_hf": ROWS["mmstar_hf"][1]["question"],
    "ocrbench_hf_text": "What is the brand?",
    "geo3k": "<image>Find x. Please reason step by step, and put your final answer within \\boxed{}.",
    "tinygeo": "<image>How long are AB and BC together?",
    "custom_free": "How much?",
}


@pytest.mark.parametrize("layout", PROMPTS)
def test_prompt_as_published(layout):
    name, fields, _ = ROWS[layout]
    assert BENCHMARKS[name].prompt(fields) == PROMPTS[layout]


def test_both_layouts_of_a_question_have_one_prompt():
    assert BENCHMARKS["ai2d"].prompt(ROWS["ai2d_hf"][1]) == BENCHMARKS["ai2d"].prompt(ROWS["ai2d_tsv"][1])


def test_a_wemath_question_that_has_the_template_does_not_get_it_twice():
    fields = ROWS["wemath_hf"][1]
    prompt = BENCHMARKS["wemath"].prompt(fields)
    template = prompt[prompt.index("Regarding") :]
    assert BENCHMARKS["wemath"].prompt({**fields, "question": f"{fields['question']}\n{template}"}) == prompt


@pytest.mark.parametrize(
    ("layout", "identifier", "cluster"),
    [
        ("wemath_hf", "2steps_7/2steps_1", "2steps_7"),
        ("mathvista_hf_choice", "3", "What is the angle?"),
        ("mathverse_choice", "1", "1"),
        ("hallusionbench_hf", "VD_illusion_4_0_1", "illusion_4"),
        ("hallusionbench_tsv", "VD_illusion_4_0_1", "illusion_4"),
        ("ai2d_tsv", "8", "Which is the prey?"),
        ("ai2d_hf", "55", "Which is the prey?"),
        ("mmmu_hf_choice", "validation_Accounting_1", "<image 1> What is the price?"),
        ("mmstar_hf", "0", "Where is the cat?"),
        ("tinygeo", "test/3", None),
        ("custom_free", "q1", "How much?"),
    ],
)
def test_identifier_and_cluster(layout, identifier, cluster):
    name, fields, _ = ROWS[layout]
    assert BENCHMARKS[name].question_id(fields, 55) == identifier
    if cluster is not None:
        assert BENCHMARKS[name].cluster(fields, ()).startswith(cluster)


@pytest.mark.parametrize(
    ("name", "max_points", "headline"),
    [
        ("wemath", 100.0, "mean"),
        ("hallusionbench", 100.0, "mean"),
        ("ocrbench", 1000.0, "final_score"),
        *((name, 100.0, "accuracy") for name in ("mathvista", "mathverse", "ai2d", "mmmu", "mmstar", "tinygeo")),
    ],
)
def test_headline_and_its_points(name, max_points, headline):
    assert (BENCHMARKS[name].max_points, BENCHMARKS[name].headline) == (max_points, headline)


def test_the_headline_is_the_first_metric_of_every_benchmark():
    for name, fields, _ in ROWS.values():
        metrics = BENCHMARKS[name].aggregate([{**fields, "parsed": "x", "hit": 1.0}])
        assert next(iter(metrics)) == BENCHMARKS[name].headline, name


def test_a_published_choice_that_is_there_twice_is_right_under_both_letters():
    fields = {**ROWS["mathvista_hf_choice"][1], "choices": ["9", "12", "18", "18"], "answer": "18"}
    assert [BENCHMARKS["mathvista"].score(fields, answer, "rule").hit for answer in ("C", "D", "18", "B")] == [
        1,
        1,
        1,
        0,
    ]


@pytest.mark.parametrize(
    ("response", "hit"),
    [("Answer: red", 0.0), ("Answer: blue", 1.0), ("\\boxed{B}", 1.0), ("\\boxed{A}", 0.0), ("A or B", 0.0)],
)
def test_custom_choice_by_letter_or_text(response, hit):
    assert BENCHMARKS["custom"].score(ROWS["custom_choice"][1], response, "rule").hit == hit


def test_a_custom_answer_that_is_no_option_is_an_error():
    with pytest.raises(ValueError, match=r"green.*red"):
        BENCHMARKS["custom"].score({**ROWS["custom_choice"][1], "answer": "green"}, "A", "rule")


@pytest.mark.parametrize(
    ("response", "hit"),
    [("4\\sqrt{3}", 0.0), ("Answer: 4\\sqrt{3}", 0.0), ("\\boxed{4√3}", 1.0), ("\\boxed{\\sqrt{48}}", 1.0)],
)
def test_geo3k_needs_a_box(response, hit):
    assert BENCHMARKS["geo3k"].score(ROWS["geo3k"][1], response, "rule").hit == hit


def test_a_box_that_says_none_is_no_missing_box():
    fields = {"problem": "<image>Is there one?", "answer": "None"}
    assert BENCHMARKS["geo3k"].score(fields, "no box", "rule") == Verdict(None, 0.0)
    assert BENCHMARKS["geo3k"].score(fields, "\\boxed{None}", "rule").hit == 1.0
