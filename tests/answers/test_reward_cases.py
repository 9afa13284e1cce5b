"""The rule of geo3k and virl39k on every kind of answer that a reward may stumble over, beside public rules."""

import importlib.util
import json
from pathlib import Path

import pytest

from benchmarks.reward_cases import RULES, VERDICTS, cases, table, verdicts

RECORDED = json.loads(VERDICTS.read_text())
PACKAGES = {"verl's geo3k": "verl", "mathruler": "mathruler", "math-verify": "math_verify"}


def test_ours_says_what_is_right():
    assert [case for case in cases() if case.ours is not case.right] == []
    assert len(cases()) >= 65 and {case.right for case in cases()} == {True, False}


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_the_installed_rules_say_what_is_recorded(rule):
    if importlib.util.find_spec(PACKAGES[rule]) is None:
        pytest.skip(f"needs {PACKAGES[rule]}, which is not installed")
    assert list(verdicts(rule)) == RECORDED[rule]


def test_the_page_has_the_table():
    assert table(RECORDED) in (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()
