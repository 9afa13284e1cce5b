"""The protocol `rule` on published responses, where they are at hand: what it must find, and agree with.

Where a published verdict is plainly wrong, its response is named here and left out: each was read.
"""

from collections import Counter

import pytest

from benchmarks.published_responses import published, verdict

# R1-V's checker takes 10 for 10√2 and 1 for 1/3, reads the last number of a thought where the response was cut off, or
# another number than the one in <answer>.
GEOQA_WRONG = {
    "geoqa_instruct": "74 116 132 133 161 173 185 258 283 306 348 361 526 531 534 538 541 546 555 556 560 564 590 741"
    " 745 751",
    "geoqa_grpo_2epochs": "132 133 167 261 272 277 342 429 435 499 501 526 538 558 564 692 693 695 700 702",
}
# MMMU's parser takes the last letter of several, the last option that is named, also one that is denied, and any of
# several numbers; numbers are rounded to two decimals.
MMMU_WRONG = {
    "mmmu_qwen_vl": "Biology_27 Chemistry_18 Clinical_Medicine_6 Clinical_Medicine_11 Electronics_21 Manage_25 Music_20"
    " Diagnostics_and_Laboratory_Medicine_15 Diagnostics_and_Laboratory_Medicine_29 Psychology_14",
    "mmmu_llava1.5_13b": "Pharmacy_27",
}
# The published extraction is another option than the one that the response names, in as many words.
MATHVISTA_WRONG = {
    "mathvista_llava": "30 79 119 150 164 229 272 276 291 373 483 513 697 708 748 817",
}
WRONG = {
    f"{file}/{prefix}{one}"
    for wrong, prefix in ((GEOQA_WRONG, ""), (MMMU_WRONG, "validation_"), (MATHVISTA_WRONG, ""))
    for file, ids in wrong.items()
    for one in ids.split()
}
LEAST_AGREEMENT = {"mathvista": 0.96, "mmmu": 0.99, "geoqa": 0.99}
MOST_UNPARSED = {
    # Of 1000 each; most of what is left says that it cannot be answered.
    "mathvista_bard": 155,
    "mathvista_claude": 135,
    "mathvista_llava": 140,
    "mathvista_gpt4_2shot_ocr": 575,
    "mmmu_qwen_vl": 100,
    "mmmu_llava1.5_13b": 1,
    "mmmu_pro": 5,
    # Cut off while thinking.
    "geoqa_instruct": 32,
    "geoqa_grpo_2epochs": 13,
}


@pytest.fixture(scope="module")
def scored(real_files):
    return [(row, verdict(row)) for row in published(real_files)]


def test_as_many_answers_are_found(scored):
    unparsed = Counter(row.file for row, ours in scored if ours.parsed is None)
    assert {file: unparsed[file] for file in MOST_UNPARSED if unparsed[file] > MOST_UNPARSED[file]} == {}


def test_verdicts_agree_with_those_that_were_published(scored):
    compared, agree = Counter(), Counter()
    for row, ours in scored:
        if row.is_right is not None and row.names_an_answer and row.key not in WRONG:
            compared[row.file] += 1
            agree[row.file] += row.is_right == bool(ours.hit)
    low = {
        file: agree[file] / compared[file]
        for file in compared
        if agree[file] < LEAST_AGREEMENT[file.partition("_")[0]] * compared[file]
    }
    assert low == {}
    assert sum(compared.values()) > 8000


def test_what_is_left_out_differs(scored):
    """A verdict that is listed as wrong, and is not, would hide a mistake of ours."""
    differ = {row.key for row, ours in scored if row.is_right is not None and row.is_right != bool(ours.hit)}
    assert not WRONG - differ
