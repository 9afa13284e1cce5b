"""Numbers, quantities, lists and expressions that are the same answer, and that are not."""

import pytest

from verl_vaopd.answers.equality import answers_equal

EQUAL = [
    # Units: forgiven where missing, converted where different.
    ("5", "5 cm"),
    ("5 cm", "50 mm"),
    ("5cm", "5 \\text{ cm}"),
    ("20 cm^2", "20 square centimeters"),
    ("20 cm²", "20 \\mathrm{~cm}^{2}"),
    ("1 L", "1000 cm^3"),
    ("8平方厘米", "8 cm^2"),
    ("30海里", "30"),
    ("30海里", "30 nautical miles"),
    ("60度", "60°"),
    ("6.50米", "650 厘米"),
    ("3立方分米", "3000 cm³"),
    ("40 cm, 25 cm", "40, 25"),
    ("4/3", "1.3333333333333333"),
    ("\\frac{2}{3}", "0.6666666666666667"),
    ("1/7", "0.14285714285714285"),
    ("0.3", "0.30000000000000004"),
    ("<", "\\lt"),
    ("90 min", "1.5 hours"),
    ("36 km/h", "10 m/s"),
    ("10 units", "10"),
    ("$5", "5 dollars"),
    ("\\$1.45", "1.45"),
    ("€5", "5 euros"),
    # Degrees.
    ("45°", "45"),
    ("45^\\circ", "45°"),
    ("45^{\\circ}", "45 degrees"),
    ("45\\degree", "45º"),
    ("118^\\circ T", "118掳T"),  # a degree sign that was read in the wrong encoding
    ("118°", "118° T"),
    # Fractions, decimals, per cent.
    ("1/2", "0.5"),
    ("\\frac{1}{2}", "\\dfrac12"),
    ("½", "0.5"),
    ("2\\frac{1}{2}", "2.5"),
    ("2 1/2", "5/2"),
    ("50%", "0.5"),
    ("50\\%", "50"),
    ("1:2", "1/2"),
    # LaTeX, roots, powers.
    ("3\\sqrt{2}", "\\sqrt{18}"),
    ("7 \\sqrt { 3 } / 2", "\\frac{7\\sqrt{3}}{2}"),
    ("√12", "2√3"),
    ("8π", "8\\pi"),
    ("10^{-3}", "10⁻³"),
    ("1.5 \\times 10^3", "1500"),
    ("1.5e3", "1500"),
    ("\\boxed{5}", "5"),
    ("\\(5\\)", "5"),
    ("\\sin 30°", "0.5"),
    # Signs and separators.
    ("−3", "-3"),
    ("1,234,567", "1234567"),
    ("1{,}234", "1234"),
    ("1\u202f234", "1234"),
    ("１２", "12"),
    ("5 million", "5,000,000"),
    # Names and hedges.
    ("x = 5", "5"),
    ("\\angle ABC = 45°", "45"),
    ("approximately 22.3 meters", "22.3"),
    ("≈ 22.3", "22.3"),
    ("x = 2 + 3 = 5", "5"),
    ("2 + 3 = 5", "5"),
    ("5", "5 = s"),
    ("s = 5", "5 = s"),
    ("1209.84", "Total S.A. $=1209.84$"),
    # Lists, points, intervals, ranges.
    ("2 and 1", "1, 2"),
    ("\\{2, 1\\}", "1, 2"),
    ("x = 1 or x = 2", "x = 2, x = 1"),
    ("(1,2)", "(1, 2)"),
    ("(1,2)", "Center $=(1,2)$"),
    ("(h, k) = (1, 2)", "(1, 2)"),
    ("x = \\{1, 2\\}", "2, 1"),
    ("(100,200)", "(100, 200)"),
    ("\\left(-4, 1\\right]", "(-4,1]"),
    ("2-5", "2 to 5"),
    ("between 2007 and 2008", "2007–2008"),
    # Expressions and equations.
    ("2(x+1)", "2x+2"),
    ("f(x) = -x^2 - 2x + 1", "-x^2-2x+1"),
    ("y = 2x + 2", "2x - y + 2 = 0"),
    ("\\frac{x^2}{81} + \\frac{y^2}{9} = 1", "x^2/81 + y^2/9 = 1"),
    ("x>3", "x > 3"),
    ("[-5,-3)∪(-3,5]", "$[-5,-3) \\cup(-3,5]$"),
    ("AB ∥ CD", "AB \\parallel CD"),
    ("x ∈ (0, 1)", "x \\in (0,1)"),
    # Words.
    ("Red.", "red"),
    ("$MgS$", "MgS"),
]
DIFFERENT = [
    ("5 m", "5 cm"),
    ("8平方厘米", "8厘米"),
    ("4/3", "1.3333"),
    ("2/3", "0.666666666667"),
    ("<", ">"),
    ("5 cm^2", "5 cm"),
    ("0.05", "5 m"),
    ("5", "0.05 m"),
    ("4.24", "3\\sqrt{2}"),
    ("14.7", "14"),
    ("-5", "5"),
    ("<5", "5"),
    ("2 3", "6"),
    ("5 or 6", "5"),
    ("1, 2, 3", "1, 2"),
    ("1, 1", "1, 2"),
    ("1,2", "(1,2)"),
    ("(2, 1)", "(1, 2)"),
    ("(-4, 1]", "(-4, 1)"),
    ("[1,2]", "(1,2)"),
    ("2-5", "-3"),
    ("-3", "2-5"),
    ("2-5", "2-6"),
    ("x = 5", "y = 5"),
    ("5 = x", "y = 5"),
    ("2 + 4 = 5", "5"),
    ("\\frac{1}{2} \\times 4 = 5", "5"),
    ("2x + 3", "2x + 3 = y"),
    ("Center = (2, 1)", "(1, 2)"),
    ("118 T", "118°T"),
    ("y = 2x + 1", "y = 2x + 2"),
    ("2x", "2y"),
    ("x < 3", "x > 3"),
    ("50%", "5"),
    ("read", "dare"),
    ("None", "0"),
    ("ABC", "A"),
    ("", "5"),
    ("5", ""),
    ("", ""),
    ("9" * 500, "9" * 501),
]


@pytest.mark.parametrize(("answer", "gold"), EQUAL)
def test_equal_answers(answer, gold):
    assert answers_equal(answer, gold)
    assert answers_equal(gold, answer)


@pytest.mark.parametrize(("answer", "gold"), DIFFERENT)
def test_different_answers(answer, gold):
    assert not answers_equal(answer, gold)


def test_enough_cases():
    assert len(EQUAL) >= 40
    assert len(DIFFERENT) >= 30
