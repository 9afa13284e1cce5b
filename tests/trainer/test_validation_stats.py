import math

import pytest

from verl_vaopd.stats.estimates import cluster_bootstrap_interval
from verl_vaopd.trainer.validation_stats import summarise_validation

NAN = float("nan")
CORRECT = {"q1": [1.0, 0.0], "q2": [1.0, 1.0], "q3": [0.0, NAN]}
MEAN_VA = {"q3": [0.2, NAN], "q1": [0.1, 0.3], "q2": [0.05, 0.15]}


def test_summary_by_hand():
    """Question means 1/2, 1, 0 and 0.2, 0.1, 0.2."""
    got = summarise_validation(CORRECT, MEAN_VA, seed=3)
    assert list(got) == [
        *("accuracy", "accuracy_low", "accuracy_high", "mean_va", "mean_va_low", "mean_va_high"),
        *("n_questions", "n_samples", "n_missing"),
    ]
    assert (got["accuracy"], got["mean_va"]) == pytest.approx((0.5, 0.5 / 3))
    assert (got["n_questions"], got["n_samples"], got["n_missing"]) == (3, 5, 1)
    assert (got["accuracy_low"], got["accuracy_high"]) == cluster_bootstrap_interval([0.5, 1.0, 0.0], seed=3)


def test_both_intervals_resample_the_same_questions():
    """VA equal to the score, given in another order: equal intervals, for both follow the order of `correct`."""
    correct = {f"q{i}": [i / 40, (i % 7) / 7] for i in range(40)}
    got = summarise_validation(correct, dict(reversed(correct.items())), seed=3)
    assert (got["mean_va_low"], got["mean_va_high"]) == (got["accuracy_low"], got["accuracy_high"])


def test_without_visual_advantage_its_fields_are_absent():
    assert not [name for name in summarise_validation(CORRECT, None, seed=0) if "va" in name.split("_")]


def test_one_question_has_no_interval():
    got = summarise_validation({"q": [1.0, 0.0]}, None, seed=0)
    assert got["accuracy"] == 0.5
    assert math.isnan(got["accuracy_low"])
    assert math.isnan(got["accuracy_high"])


def test_summary_refuses_what_does_not_belong_together():
    with pytest.raises(ValueError, match="got no question"):
        summarise_validation({}, None, seed=0)
    with pytest.raises(ValueError, match=r"other questions than correct \(q2, q3\)"):
        summarise_validation(CORRECT, {"q1": [0.1, 0.2]}, seed=0)
