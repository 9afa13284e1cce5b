import json

import pytest

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
