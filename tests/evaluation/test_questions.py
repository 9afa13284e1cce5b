import json

import pytest
from PIL import Image

from tests.evaluation.published_rows import ROWS
from verl_vaopd.commands import evaluate
from verl_vaopd.evaluation.benchmarks import BENCHMARKS
from verl_vaopd.evaluation.questions import data_path, read_questions, require_data
from verl_vaopd.evaluation.settings import parse


def test_data_are_found_by_their_usual_names(tmp_path):
    settings = parse(["model=m", f"data={tmp_path}"])
    with pytest.raises(ValueError, match=r"(?s)^mathvista: got none.*\ncustom: got none"):
        require_data(settings, ["mathvista", "custom"])
    for name in ("MathVista_MINI.tsv", "mathvista", "MathVista"):  # ever more preferred
        (tmp_path / name).mkdir()
        assert data_path(settings, "mathvista") == tmp_path / name
    named = parse(["model=m", f"data={tmp_path}", f"files.mathvista={tmp_path / 'mathvista'}"])
    assert data_path(named, "mathvista") == tmp_path / "mathvista"
    with pytest.raises(ValueError, match=r"files\.mathvista: got .*none"):
        data_path(parse(["model=m", f"files.mathvista={tmp_path / 'none'}"]), "mathvista")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        (
            "ai2d",
            "get it with `vaopd eval fetch ai2d data={}` or take VLMEvalKit's AI2D_TEST.tsv, or name it with "
            "files.ai2d=PATH",
        ),
        (
            "geo3k",
            "get it with `vaopd eval fetch geo3k data={}`, or name it with files.geo3k=PATH",
        ),
        ("tinygeo", "a training with dataset=tinygeo writes {}/tinygeo; name it with files.tinygeo=PATH"),
        ("custom", "name it with files.custom=PATH"),
    ],
)
def test_what_is_missing_can_be_had_somewhere(tmp_path, name, advice):
    with pytest.raises(ValueError) as error:
        data_path(parse(["model=m", f"data={tmp_path}"]), name)
    assert str(error.value).endswith(f"expected one; {advice.format(tmp_path)}")


@pytest.fixture
def mathvista(tmp_path):
    """The repository's layout: an object by `pid`, twelve images in a folder beside it, of which there is one."""
    fields = {name: value for name, value in ROWS["mathvista_hf_choice"][1].items() if name != "query"}
    rows = {str(pid): {**fields, "pid": str(pid), "image": f"images/{pid}.jpg"} for pid in range(1, 13)}
    (tmp_path / "testmini.json").write_text(json.dumps(rows))
    (tmp_path / "images").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "3.jpg")
    return tmp_path / "testmini.json"


def test_ids_are_printed_without_any_image(mathvista, capsys):
    assert evaluate.main(["questions", "mathvista", f"files.mathvista={mathvista}"]) == 0
    out, told = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["question"] for row in rows] == [str(pid) for pid in range(1, 13)]
    assert rows[4]["cluster"] == "images/5.jpg" and rows[4]["fields"]["answer"] == "145°"
    assert "12 questions of mathvista\n" in told and "11 questions lack an image, and can only be scored" in told
    assert f"question '1': images/1.jpg (no such file in {mathvista.parent} or {mathvista.parent}/images)" in told
    assert "and 1 more" in told and told.count("no such file") == 10


def test_questions_without_their_images_are_not_asked(mathvista, tmp_path):
    words = [f"files.mathvista={mathvista}", "benchmarks=mathvista", f"out={tmp_path / 'out'}"]
    with pytest.raises(
        ValueError, match=r"no image for 11 of 12 questions.*put the images beside the file(?s:.*)images/1"
    ):
        evaluate.main(["model=m", "endpoint=http://localhost:1/v1", *words])
    assert not (tmp_path / "out").exists()


def test_questions_of_a_table_without_images(tmp_path):
    """Of which every one has one: VLMEvalKit's spreadsheets. They are scored, and clusters of their own."""
    path = tmp_path / "x.csv"
    path.write_text("question,answer,category\nA: x B: y,A,math\nA: x B: y,B,math\n")
    found = read_questions(BENCHMARKS["mmstar"], path, None)
    assert len({json.loads(line)["cluster"] for line in found.lines}) == len(found.without_image) == 2
    with pytest.raises(ValueError, match=r"question '0': none \(the file has no column with images: images, image,"):
        found.require_images(path)


def test_a_question_without_an_image_is_not_asked_as_a_text(mathvista):
    rows = json.loads(mathvista.read_text())
    mathvista.write_text(json.dumps({"3": rows["3"], "4": {**rows["4"], "image": None}}))
    assert read_questions(BENCHMARKS["mathvista"], mathvista, None).without_image == ("question '4': no image",)


def test_rows_that_are_left_out_are_counted(tmp_path, capsys):
    rows = [{**ROWS["mathverse_choice"][1], "image": image, "sample_index": str(n)} for n, image in enumerate("x", 1)]
    rows += [{**rows[0], "problem_version": "Text Only", "image": "", "sample_index": str(n)} for n in (7, 8)]
    path = tmp_path / "testmini.json"
    path.write_text(json.dumps(rows))
    evaluate.main(["questions", "mathverse", f"files.mathverse={path}"])
    assert f"{path}: 2 rows are left out: they have no image\n" in capsys.readouterr().err
    path.write_text(json.dumps(rows[1:]))
    with pytest.raises(ValueError, match="no question of mathverse in 2 rows, left out because they have no image"):
        evaluate.main(["questions", "mathverse", f"files.mathverse={path}"])


def test_marks_in_a_file_without_images_are_images_that_it_lacks(tmp_path):
    fields = {**ROWS["mmmu_hf_choice"][1], "question": "From <image 2> to <image 1>."}
    (tmp_path / "x.jsonl").write_text(json.dumps(fields))
    (question,) = BENCHMARKS["mmmu"].load(tmp_path / "x.jsonl")
    assert [isinstance(part, str) for part in question.content[:4]] == [True, False, True, False]


def test_an_answer_that_is_no_option_is_told(tmp_path, capsys):
    rows = [{**ROWS["mmmu_hf_choice"][1], "question": "q", "id": n, "answer": letter} for n, letter in enumerate("aBZ")]
    (tmp_path / "x.json").write_text(json.dumps(rows))
    evaluate.main(["questions", "mmmu", f"files.mmmu={tmp_path / 'x.json'}"])
    told = capsys.readouterr().err
    assert (
        "1 questions that nothing can answer rightly:\n  question '2': answer: got 'Z', expected one of A, B, C" in told
    )


def test_a_row_that_nothing_can_be_scored_by_is_told_before_anything_is_asked(tmp_path):
    rows = [dict(ROWS["mathvista_hf_float"][1], pid=pid, precision=value) for pid, value in enumerate([1, "None"])]
    (tmp_path / "x.json").write_text(json.dumps(rows))
    with pytest.raises(
        ValueError, match=r"x\.json: row 1: precision: got 'None', expected a number of decimals, or not"
    ):
        list(BENCHMARKS["mathvista"].load(tmp_path / "x.json"))


@pytest.mark.parametrize(
    ("more", "query"),
    [
        (
            {"question_type": "multi_choice", "answer_type": "text", "choices": ["7", "8"], "answer": "8"},
            "and provide the correct option letter, e.g., A, B, C, D, at the end.\nQuestion: How much? (Unit: g)\n"
            "Choices:\n(A) 7\n(B) 8",
        ),
        (
            {"answer_type": "integer", "answer": "8", "unit": None},
            "requiring an integer answer and provide the final value, e.g., 1, 2, 3, at the end.\nQuestion: How much?",
        ),
        (
            {"answer_type": "float", "answer": "8.25", "precision": 2.0, "unit": ""},
            "requiring a floating-point number with two decimal places and provide the final value, e.g., 1.23, 1.34, "
            "1.45, at the end.\nQuestion: How much?",
        ),
        (
            {"answer_type": "list", "answer": "[0, 2]", "unit": None},
            "requiring a Python list as an answer and provide the final list, e.g., [1, 2, 3], [1.2, 1.3, 1.4], at the "
            "end.\nQuestion: How much?",
        ),
    ],
)
def test_mathvistas_query_is_made_where_the_file_has_none(more, query):
    fields = {"question": "How much?", "unit": "g", "question_type": "free_form", "precision": None, **more}
    assert BENCHMARKS["mathvista"].prompt(fields) == "Hint: Please answer the question " + query
    assert BENCHMARKS["mathvista"].prompt({**fields, "query": "as published"}) == "as published"


@pytest.mark.parametrize("word", ["n=2", "model=m", "files.mmmu=x", "protocol=rule"])
def test_settings_that_no_question_depends_on(word):
    with pytest.raises(ValueError, match=word.partition("=")[0]):
        evaluate.main(["questions", "mathvista", word])
