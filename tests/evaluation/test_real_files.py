"""Files as other people have published them: each is loaded whole, or refused with what it lacks."""

import json

import pytest

from verl_vaopd.commands import evaluate
from verl_vaopd.evaluation.benchmark import ImagePart
from verl_vaopd.evaluation.benchmarks import BENCHMARKS
from verl_vaopd.evaluation.formats.values import as_list
from verl_vaopd.evaluation.questions import question_ids

LOADED = [
    ("wemath", "wemath/testmini_16_problems.json", 54, 0, 0),
    ("wemath", "wemath/testmini_all_rows_no_images.jsonl", 1740, 0, 1686),
    ("mathvista", "mathvista/testmini.json", 1000, 0, 1000),
    ("mathverse", "mathverse/site_subset_72_rows.json", 54, 18, 0),
    ("mmmu", "mmmu_pro/gpt-4o_standard_10_options_cot.jsonl", 1730, 0, 1730),
    ("hallusionbench", "hallusionbench/HallusionBench.json", 951, 178, 951),
    ("ocrbench", "ocrbench/OCRBench.json", 1000, 0, 1000),
    ("custom", "geoqa_qwen2vl/instruct.jsonl", 754, 0, 0),
]
"""Benchmark, file, its questions, rows that are none, questions without their image."""

REFUSED = [
    ("mathverse", "mathverse/testmini_text_only.json", "no question of mathverse in 788 rows, .* they have no image"),
    ("mathvista", "mathvista/published_bard.jsonl", "line 1: fields: got 'pid', .*expected 'query' or 'question'"),
    ("mmmu", "mmmu/output_qwen_vl.jsonl", "line 1: fields: got 'id', .*expected 'question' with a value"),
    ("mmmu", "mmmu/answer_dict_val.json", "row 'validation_Accounting_1': fields: got .*expected 'question'"),
    (
        "custom",
        "mathverse/site_subset_72_rows.json",
        r"row '33': answer: got \['C.nD'\], expected the letter or the text",
    ),
    ("geo3k", "geometry3k/11/data.json", "row 0: fields: got 'problem_text', .*expected 'problem'"),
    ("geo3k", "geometry3k", r"a directory without test\*\.parquet and without a file of .*; name the file"),
    ("wemath", "wemath", r"got testmini_16_problems\.json, testmini_all_rows_no_images\.jsonl, expected one"),
]


def printed(capsys, *words):
    assert evaluate.main(words) == 0
    out, told = capsys.readouterr()
    return [json.loads(line) for line in out.splitlines()], told


@pytest.mark.parametrize(("name", "file", "num_questions", "num_left_out", "num_without_image"), LOADED)
def test_loaded(real_files, capsys, name, file, num_questions, num_left_out, num_without_image):
    rows, told = printed(capsys, "questions", name, f"files.{name}={real_files / file}")
    assert len(rows) == num_questions == len({row["question"] for row in rows})
    assert (f": {num_left_out} rows are left out" in told) == bool(num_left_out)
    assert (f": {num_without_image} questions lack an image" in told) == bool(num_without_image)
    assert "answer rightly" not in told  # every published answer is one of the options


@pytest.mark.parametrize(("name", "file", "message"), REFUSED)
def test_refused(real_files, name, file, message):
    with pytest.raises(ValueError, match=message):
        evaluate.main(["questions", name, f"files.{name}={real_files / file}"])


@pytest.mark.parametrize(
    ("name", "file"),
    [("wemath", "wemath/testmini_16_problems.json"), ("mathverse", "mathverse/site_subset_72_rows.json")],
)
def test_images_beside_the_file_are_read(real_files, name, file):
    for question in BENCHMARKS[name].load(real_files / file):
        (part,) = [part for part in question.content if isinstance(part, ImagePart)]
        assert min(part.image.size) > 20


@pytest.mark.parametrize(
    ("file", "num_choice"),
    [
        ("mmmu/output_qwen_vl.jsonl", 847),
        ("mmmu/output_llava1.5_13b.jsonl", 847),
        ("mmmu_pro/gpt-4o_standard_10_options_cot.jsonl", 1730),
    ],
)
def test_choices_are_scored_as_choices(real_files, file, num_choice):
    """The published letter, given back, is right in each of them, and in no other."""
    rows = [json.loads(line) for line in (real_files / file).read_text().splitlines()]
    choices = [row for row in rows if row.get("question_type", "multiple-choice") == "multiple-choice"]
    assert len(choices) == num_choice
    for row in choices:
        for protocol in ("rule", "official"):
            letters = ("A", "B") if row["answer"] != "A" else ("B", "A")
            hits = [BENCHMARKS["mmmu"].score(row, letter, protocol).hit for letter in (*letters, row["answer"])]
            assert hits == [float(letter == row["answer"]) for letter in letters] + [1.0], row["id"]


@pytest.mark.parametrize(
    ("name", "file", "answers", "num_answers"),
    [
        ("wemath", LOADED[1][1], lambda fields: [fields["answer"], fields["answer"].lower()], 2 * 1740),
        ("mathvista", LOADED[2][1], lambda fields: [f"\\boxed{{{fields['answer']}}}"], 1000),
        ("mmmu", LOADED[4][1], lambda fields: [fields["answer"]], 1730),
        ("hallusionbench", LOADED[5][1], lambda fields: [{"0": "No", "1": "Yes"}[fields["gt_answer"]]], 951),
        ("ocrbench", LOADED[6][1], lambda fields: as_list(fields["answers"]), 1187),
    ],
)
def test_every_published_answer_is_right_when_given_back(real_files, name, file, answers, num_answers):
    benchmark = BENCHMARKS[name]
    hits = {
        (question.id, answer): benchmark.score(question.fields, answer, "rule").hit
        for question in benchmark.load(real_files / file)
        for answer in answers(question.fields)
    }
    assert [place for place, hit in hits.items() if hit != 1.0] == []
    assert len(hits) == num_answers


@pytest.mark.parametrize("model", ["bard", "claude", "llava", "gpt4_2shot_ocr"])
def test_published_responses_are_scored_without_images(real_files, tmp_path, capsys, model):
    """Of MathVista: as published they say `pid`, and once that is renamed, as the error asks, they are scored."""
    published = real_files / "mathvista" / f"published_{model}.jsonl"
    words = ["benchmarks=mathvista", f"files.mathvista={real_files / 'mathvista' / 'testmini.json'}"]
    with pytest.raises(
        ValueError, match=r"line 1: question: got none, .*; `pid` looks like it: rename it to `question`"
    ):
        evaluate.main([f"responses={published}", f"out={tmp_path / 'out'}", *words])
    renamed = tmp_path / published.name
    renamed.write_text(published.read_text().replace('"pid":', '"question":'))
    assert evaluate.main([f"responses={renamed}", f"out={tmp_path / 'out'}", *words]) == 0
    assert f"{renamed}: n=1, 1000 responses to 1000 questions" in capsys.readouterr().err


def test_ids_are_those_of_the_publications(real_files):
    assert question_ids(BENCHMARKS["mathvista"], real_files / "mathvista/testmini.json")[:2] == ["1", "2"]
    hallusionbench = question_ids(BENCHMARKS["hallusionbench"], real_files / "hallusionbench/HallusionBench.json")
    assert hallusionbench[0] == "VS_chart_0_1_0"
