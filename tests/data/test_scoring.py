"""Which rule a data source has, which ground truths it can use, and answers that nothing may wait for."""

import pytest

from verl_vaopd.data.scoring import SCORERS, Verifier, compute_score, is_usable
from verl_vaopd.limited_process import Limits

OPTIONS = "Find x.\nChoices:\n(A) 30\n(B) 45^\\circ\n(C) 60"


@pytest.mark.parametrize("source", ["free_form", "geo3k", "virl39k"])
def test_public_data_have_the_free_form_rule(source):
    assert compute_score(source, r"<think>\boxed{1}</think> \boxed{\sqrt{18}}", r"3\sqrt{2}")["acc"] == 1.0
    assert compute_score(source, r"\boxed{45}", "B", question=OPTIONS)["score"] == 1.0
    assert compute_score(source, r"\boxed{45}", "B")["score"] == 0.0, "nobody said what B is"
    assert compute_score("exact_match", r"\boxed{\sqrt{18}}", r"3\sqrt{2}")["score"] == 0.0


@pytest.mark.parametrize(
    ("truth", "expected"),
    [
        *((truth, True) for truth in ("45", "45°", r"\frac{1}{2}", "A", "(B)", "ABC", "Yes", "None", "3, 1", r"\{1\}")),
        *((truth, True) for truth in (r"\boxed{B}", "similar by SAS", "5 cm", "x = 5", "平行", r"x \ge 2", "E")),
        *((truth, False) for truth in ("", "  ", r"\frac{1}{2", "}", "a\\")),
    ],
)
def test_a_ground_truth_is_usable_if_it_is_right_in_a_box(truth, expected):
    assert is_usable("virl39k", truth) is expected
    assert is_usable("virl39k", truth, OPTIONS) is expected


HOSTILE = [
    r"\boxed{9**9**9**9}",
    r"\boxed{9^{9^{9^{9}}}}",
    "\\boxed{" + "(" * 5000 + "1" + ")" * 5000 + "}",
    "\\boxed{" + "\\frac{1}{" * 5000 + "2" + "}" * 5000 + "}",
    "\\boxed{" * 100_000,
    "{}" * 500_000,
    "\\boxed{" + "9" * 10**6 + "}",
    "<think>" * 100_000,
    " \n" * 500_000,
    "\ud800\x00",
]


def test_hostile_answers_are_wrong_and_hold_nothing_up():
    """By the rule itself, within the limits that training has; the last question is answered as the first."""
    verifier = Verifier(Limits())
    for response in [*HOSTILE, r"\boxed{5}"]:
        verdict = verifier.verify("virl39k", response, "5", "How long is AB?")
        assert verdict["score"] == float(response == r"\boxed{5}"), response[:80]
    assert not verifier.take_unscored()
    verifier.close()


def test_an_answer_past_a_limit_is_wrong_and_counted():
    verifier = Verifier(Limits(max_seconds=0.2))
    verdicts = [verifier.verify("geo3k", response, "5", "") for response in ("{}" * 2_000_000, r"\boxed{5}")]
    assert verdicts == [dict.fromkeys(("score", "acc", "well_formed"), value) for value in (0.0, 1.0)]
    assert verifier.take_unscored() == {"it took more than 0.2 s": 1} and not verifier.take_unscored()
    verifier.close()


def test_an_unknown_rule_is_an_error_and_no_wrong_answer(capfd):
    verifier = Verifier(Limits())
    with pytest.raises(RuntimeError, match="compute_score raised an error"):
        verifier.verify("geo9k", r"\boxed{5}", "5", "")
    assert "geo9k" in capfd.readouterr().err and "geo9k" not in SCORERS
    verifier.close()
