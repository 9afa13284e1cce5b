import csv
import json

import pytest

from tests.evaluation.published_rows import ROWS
from verl_vaopd.evaluation.tables import Score, average, make_tables


def test_an_average_is_normal_in_its_parts():
    """Standard errors 3 and 4: sqrt(9 + 16) / 2 = 2.5, times 1.96 on either side."""
    found = average([Score(40.0, 30.0, 50.0, 3.0), Score(60.0, 50.0, 70.0, 4.0)])
    assert (found.value, found.standard_error) == (50.0, 2.5)
    assert found.low == pytest.approx(50 - 1.959964 * 2.5) and found.high == pytest.approx(50 + 1.959964 * 2.5)
    assert str(found) == "50.0 [45.1, 54.9]"


def write_run(run, name, questions, hits):
    """Files of a run with one sample per question."""
    identity = {"sampling": {}, "seed": 0, "protocol": "rule", "switches": {}, "n": 1, "judge": None, "questions": "x"}
    directory = run / name
    directory.mkdir(parents=True)
    rows = [{"question": str(i), "cluster": f.get("ID", str(i)), "fields": f} for i, f in enumerate(questions)]
    (directory / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    same = {"sample": 0, "parsed": "A", "failed": False, "truncated": False, "num_tokens": 1}
    scores = [{"identity": identity}, *({"question": str(i), "hit": hit, **same} for i, hit in enumerate(hits))]
    (directory / "scores-rule.jsonl").write_text("".join(json.dumps(row) + "\n" for row in scores))


def test_tables_print_what_explains_a_score(tmp_path):
    """Sub-steps wrong, whole right: 0 when strict; one of two right: 100 when loose. OCRBench is out of 1000."""
    keys = ("2steps_1", "2steps_2", "2steps_multi")
    write_run(tmp_path / "model", "wemath", [{"ID": "2steps_1", "key": key} for key in keys], [1.0, 0.0, 1.0])
    kinds = [{"question_type": "Doc-oriented VQA"}] * 4
    write_run(tmp_path / "model", "ocrbench", kinds, [1.0, 1.0, 1.0, 0.0])
    text = make_tables([tmp_path / "model"], None, tmp_path / "out")
    assert "- model, WeMath: strict 0.0, loose 100.0\n" in text
    assert "- model, OCRBench: final_score 750.0 of 1000\n" in text
    assert "| 50.0" in text and "| 75.0 [" in text


def test_columns_are_those_of_the_paper_with_their_averages_and_then_the_others(tmp_path):
    """Two of four right, all, none: 50 on average. Of the visual ones only AI2D is there: no average."""
    hits = {"mathvista": [1.0, 1.0, 0.0, 0.0], "mathverse": [1.0, 1.0], "ai2d": [1.0, 0.0], "geo3k": [0.0]}
    rows = {name: fields for name, fields, _ in ROWS.values()}
    for name, of_name in hits.items():
        write_run(tmp_path / "model", name, [rows[name]] * len(of_name), of_name)
    keys = ("2steps_1", "2steps_2", "2steps_multi")
    write_run(tmp_path / "model", "wemath", [{"ID": "2steps_1", "key": key} for key in keys], [0.0, 0.0, 0.0])
    text = make_tables([tmp_path / "model"], None, tmp_path / "out")
    (row,) = csv.DictReader((tmp_path / "out" / "table.csv").read_text().splitlines())
    scores = {column: value for column, value in row.items() if not column.endswith((" low", " high"))}
    expected = {"model": "model", "WeMath": "0.0", "MathVista": "50.0", "MathVerse": "100.0", "Math avg": "50.0"}
    expected |= {"HalluB": "", "AI2D": "50.0", "MMMU": "", "MMStar": "", "OCRBench": "", "Visual avg": ""}
    expected["Geo3K"] = "0.0"
    assert list(scores.items()) == list(expected.items())
    assert text.split("\n\n")[1].splitlines()[0].replace("|", " ").split() == " ".join(expected).split()
