"""OCRBench: substring officially, whole words by rule; formulas without their spaces."""

import pytest

from verl_vaopd.evaluation.benchmarks import BENCHMARKS
from verl_vaopd.evaluation.benchmarks.ocrbench import FORMULAS

# response, golds, right by rule, right officially
LINES = [
    ("CENTRE", ["CENTRE"], 1, 1),
    ("centre", ["CENTRE"], 1, 1),
    ("The word is Centre.", ["CENTRE"], 1, 1),
    ("CENTER", ["CENTRE"], 0, 0),
    ("CENT RE", ["CENTRE"], 0, 0),
    ("", ["CENTRE"], 0, 0),
    ("yesterday", ["yes"], 0, 1),
    ("yes", ["yes"], 1, 1),
    ("1234", ["123"], 0, 1),
    ("0123", ["123"], 0, 1),
    ("123.", ["123"], 1, 1),
    ("No. 123, in red", ["123"], 1, 1),
    ("126 052", ["126,052", "126 052", "126052"], 1, 1),
    ("Coke", ["Coca Cola", "Coke"], 1, 1),
    ("Pepsi", ["Coca Cola", "Coke"], 0, 0),
    ("23.7 g", ["23.7g", "23.7 g"], 1, 1),
    ("23.7gram", ["23.7g", "23.7 g"], 0, 1),
    ("Coca\nCola", ["Coca Cola"], 1, 1),
    ("Coca  Cola", ["Coca Cola"], 1, 0),
    ("Coca Cola", ["Coca\nCola"], 1, 1),
    (" COCA COLA ", [" Coca Cola "], 1, 1),
    ("Ｃｏｋｅ", ["Coke"], 1, 0),
    ("价格是二十元", ["二十"], 1, 1),
    ("$5.99", ["$5.99"], 1, 1),
    ("US$5.99", ["$5.99"], 1, 1),
    ("a+b", ["a+b"], 1, 1),
    ("aab", ["a+b"], 0, 0),
    ("\\boxed{Coke}", ["Coke"], 1, 1),
    ("Pepsi, Coke, or \\boxed{Fanta}", ["Coke"], 0, 1),
    ("<think>Coke</think>Pepsi", ["Coke"], 0, 1),
    ("<think>Coke", ["Coke"], 0, 1),
    ("Straße", ["STRASSE"], 1, 0),
    ("O’Reilly’s", ["O'Reilly's"], 1, 0),
    ("“Coke”", ['"Coke"'], 1, 0),
]
FORMULA_LINES = [
    ("y _ { 2 } = - 1", ["y _ { 2 } = - 1\n", "y_2 = - 1\n"], 1, 1),
    ("y_2=-1", ["y _ { 2 } = - 1\n", "y_2 = - 1\n"], 1, 1),
    ("$y_{2} = -1$", ["y _ { 2 } = - 1\n"], 1, 1),
    ("y_{2}\n= -1", ["y _ { 2 } = - 1\n"], 1, 1),
    ("Y_2 = -1", ["y_2 = - 1\n"], 0, 0),
    ("y_2 = -10", ["y_2 = - 1\n"], 0, 1),
    ("xy_2 = -1", ["y_2 = - 1\n"], 0, 1),
    ("y_{2}=-1", ["y_2 = - 1\n"], 1, 0),
    ("\\left( x \\right) ^ 2", ["( x ) ^ 2"], 1, 0),
    ("\\frac{1}{2}", ["\\frac { 1 } { 2 }"], 1, 1),
    ("\\dfrac{1}{2}", ["\\frac { 1 } { 2 }"], 1, 0),
    ("3 2 + 5 = \\boxed { 3 } \\boxed { 7 }", ["3 2 + 5 = \\boxed { 3 } \\boxed { 7 }\n"], 1, 1),
    ("\\[ \\frac { 1 } { 2 } \\]", ["\\frac { 1 } { 2 }"], 1, 1),
    ("```latex\ny_2 = -1\n```", ["y_2 = - 1\n"], 1, 1),
    ("The formula is y_2 = -1", ["y_2 = - 1\n"], 1, 1),
    ("It reads: \\(y_2 = -1\\).", ["y_2 = - 1\n"], 1, 1),
    ("y_2 \\geq 7\\text{cm}", ["y_2 \\ge 7 c m\n"], 1, 0),
    ("y_2 = 1", ["y_2 = - 1\n"], 0, 0),
    ("", ["y_2 = - 1\n"], 0, 0),
]


@pytest.mark.parametrize(("response", "golds", "by_rule", "officially"), LINES)
def test_lines(response, golds, by_rule, officially):
    fields = {"question": "q", "answer": golds, "dataset": "svt", "question_type": "Regular Text Recognition"}
    verdicts = [BENCHMARKS["ocrbench"].score(fields, response, protocol) for protocol in ("rule", "official")]
    assert [verdict.hit for verdict in verdicts] == [by_rule, officially]


@pytest.mark.parametrize(("response", "golds", "by_rule", "officially"), FORMULA_LINES)
def test_formulas(response, golds, by_rule, officially):
    fields = {"question": "q", "answer": str(golds), "category": FORMULAS}
    verdicts = [BENCHMARKS["ocrbench"].score(fields, response, protocol) for protocol in ("rule", "official")]
    assert [verdict.hit for verdict in verdicts] == [by_rule, officially]


def test_enough_cases():
    assert len(LINES) + len(FORMULA_LINES) >= 40


def test_a_single_gold_counts_like_a_list_of_one():
    fields = {"question": "q", "answer": "Coke", "question_type": "Regular Text Recognition"}
    assert BENCHMARKS["ocrbench"].score(fields, "Coke", "official").hit == 1.0


def test_an_unknown_kind_of_question_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'Maps'.*Regular Text Recognition"):
        BENCHMARKS["ocrbench"].score({"question": "q", "answer": "a", "question_type": "Maps"}, "a", "rule")
