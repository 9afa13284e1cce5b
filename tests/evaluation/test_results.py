import math

import pytest

from verl_vaopd.evaluation.benchmarks import BENCHMARKS
from verl_vaopd.evaluation.results import Result


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
