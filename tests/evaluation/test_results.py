import json
import math

import pytest

from verl_vaopd.evaluation.benchmarks import BENCHMARKS
from verl_vaopd.evaluation.results import Result
from verl_vaopd.evaluation.tables import Score, average, make_tables


def make_result(hits, lengths=(4, 6)):
    """Each question's samples: the answer A if right, B if wrong, none if not scored."""
    scores = [
        {
            "question": f"q{i}",
            "sample": sample,
            "parsed": {1.0: "A", 0.0: "B", None: None}[hit],
            "hit": hit,
            "failed": False,
            "truncated": hit == 0.0,
            "num_tokens": lengths[sample],
        }
        for i, of_question in enumerate(hits)
        for sample, hit in enumerate(of_question)
    ]
    questions = [{"question": f"q{i}", "cluster": f"c{i}", "fields": {"category": "x"}} for i in range(len(hits))]
    return Result(BENCHMARKS["ai2d"], {"n": len(hits[0])}, questions, scores)


def test_questions_with_an_unscored_sample_are_left_out_of_what_needs_all():
    """Pass 0 scores 1 of 3 and pass 1 scores 2 of 2; both of q0, one of q1; q2 is not scored whole."""
    result = make_result([(1.0, 1.0), (0.0, 1.0), (0.0, None)])
    assert result.headline.value() == pytest.approx((1 / 3 + 2 / 2) / 2)
    assert result.metrics["accuracy"] == pytest.approx(100 * (1 / 3 + 2 / 2) / 2)
    assert result.pass_at(2) == 1.0
    assert result.majority_at_n() == pytest.approx((1 + 1 / 2) / 2)


def test_pass_at_k_is_unbiased_and_takes_the_questions_with_k_scored_samples():
    """One draw: 1, 1/2, and 0 of the scored one of q2. Two draws: 1 and 1; q2 has no two."""
    result = make_result([(1.0, 1.0), (0.0, 1.0), (0.0, None)])
    assert result.pass_at(1) == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert result.pass_at(2) == 1.0
    assert math.isnan(result.pass_at(3))


def test_shares_beside_a_score():
    shares = make_result([(1.0, 1.0), (0.0, 1.0), (0.0, None), (1.0, 1.0)]).shares()
    assert shares == {"unparsed": 12.5, "truncated": 25.0, "judge_failed": 12.5, "failed": 0.0, "mean_length": 5.0}
    assert math.isnan(make_result([(1.0,)], lengths=(None,)).shares()["mean_length"])


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
