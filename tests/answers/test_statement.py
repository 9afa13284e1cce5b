"""What a sentence says that something is, and what a response without a mark says in the end."""

import pytest

from verl_vaopd.answers.statement import concluded_value, stated_value

SAYS = [
    ('The heights of the bars named "pine" and "cedar" add up to a total that is 14.', "14"),
    ("From the plot, the lowest value that the curve takes seems to be around -3.0.", "around -3.0"),
    ("Therefore, the value of g(0) is 14.", "14"),
    ("The cost of 3 mugs is $14.", "14"),
    ("So the perimeter is 4 m + 4 m + 6 m = **14 m**.", "14 m"),
    ("The total is 8 + 6 = 14.", "14"),
    ("There are three objects left on the table.", "3"),
    ("There is one bar above the line.", "1"),
    ("There are 7 blocks that have exactly 36 houses.", "7"),
    ("There are two bars with values smaller than 6.", "2"),
    ("After removing 3 of the 17 mugs, there are 14 left.", "14"),
    ("In 2014 the demand was 1.3 billion.", "1.3 billion"),
    ("The sum of 2002 and 2003 is 4005.", "4005"),
    ("The final value of y when x = -2.5 is 14.", "14"),
    ("Since there are 4 dots in 2 groups, there are 4/2 = 2 dots in each group.", "2"),
    ("Karen spent a total of $11.25 on scraps.", "11.25"),
    ("The rate of change was a decrease of $2.", "2"),
    ("所以一共有14个。", "14个"),
]
SAYS_NOTHING = [
    "There are 3 red and 4 green ones.",
    "It is between 5 and 20.",
    "It is either 12 or 14.",
    "The slope is not 4.",
    "It cannot be determined from the 3 values.",
    "Is it 14?",
    "The accuracy of one is 9.5 and that of the other is 9.2.",
    "The highest gain is 300 grams, which occurs in week 3.",
    "The median lies below 0.5.",
    "In conclusion, the greatest of all planets in the sky is the one with the rings around it.",
    "It is the 3rd bar.",
    "The model is T5-11B.",
    "Round your answer to two decimal places, and make sure that it is positive.",
]


@pytest.mark.parametrize(("sentence", "value"), SAYS)
def test_a_sentence_says_what_something_is(sentence, value):
    assert stated_value(sentence) == value


@pytest.mark.parametrize("sentence", SAYS_NOTHING)
def test_a_sentence_says_no_value(sentence):
    assert stated_value(sentence) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("There are 17 mugs. Therefore, 14 are left. They are blue.", "14"),
        ("There are 3 bars below 40. Their values are 12, 15 and 31.", "3"),
        ("There are 4 dots in 2 equal groups. There are 2 dots in each group.", "2"),
        ("The ratio is 218/1528 = 0.1426. Rounded, the ratio is 0.14.", "0.14"),
        ("* First, 3 + 4 = 7\n* The final number of objects is 7", "7"),
        # What disagrees is nothing, and so is what only belongs to an answer.
        ("The difference is **1**. The ticks are 0.5 apart.", None),
        ("Therefore, the total is 18. This gives us 35.", None),
        ("The red bars are the tall ones:\n* tunnel: 2", None),
        ("There were a total of 11 guests. Of those, 3 guests went more than 2 times.", None),
        ("The number is hidden. I see no number.", None),
    ],
)
def test_a_response_says_a_value_in_the_end(text, value):
    assert concluded_value(text) == value
