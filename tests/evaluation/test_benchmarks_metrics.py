"""Metrics of groups of questions, against truth tables worked by hand."""

import math
from itertools import product

import pytest

from verl_vaopd.evaluation.benchmarks import BENCHMARKS
from verl_vaopd.evaluation.benchmarks.hallusionbench import HallusionBench
from verl_vaopd.evaluation.shares import accuracy_by


def problem(name, steps, substeps, multi):
    """Rows of one multi-step problem; hits of its sub-steps and of the whole."""
    rows = [{"ID": name, "key": f"{steps}steps_{i}", "hit": hit} for i, hit in enumerate(substeps, 1)]
    return [{**row, "parsed": "A"} for row in [*rows, {"ID": name, "key": f"{steps}steps_multi", "hit": multi}]]


# sub-steps right, multi right -> strict, loose outcome; score = 1 - IG / 2 - RM - IK
TWO_STEPS = {
    (0, 0, 0): ("IK", "IK"),
    (0, 1, 0): ("IK", "IK"),
    (1, 0, 0): ("IK", "IK"),
    (1, 1, 0): ("IG", "IG"),
    (0, 0, 1): ("RM", "RM"),
    (0, 1, 1): ("RM", "CM"),
    (1, 0, 1): ("RM", "CM"),
    (1, 1, 1): ("CM", "CM"),
}
POINTS = {"IK": 0.0, "IG": 50.0, "CM": 100.0, "RM": 0.0}


@pytest.mark.parametrize(("hits", "outcomes"), TWO_STEPS.items())
def test_wemath_truth_table_of_two_steps(hits, outcomes):
    metrics = BENCHMARKS["wemath"].aggregate(problem("2steps_1", 2, hits[:2], hits[2]))
    strict, loose = outcomes
    assert metrics["strict"] == POINTS[strict]
    assert metrics["loose"] == POINTS[loose]
    assert metrics["mean"] == (POINTS[strict] + POINTS[loose]) / 2
    for name in ("IK", "IG", "CM_strict", "RM_strict", "CM_loose", "RM_loose"):
        outcome, _, how = name.partition("_")
        assert metrics[name] == 100.0 * (outcome == (loose if how == "loose" else strict)), name


def test_wemath_three_steps():
    for hits in product((0, 1), repeat=4):
        right, multi = sum(hits[:3]), hits[3]
        strict = ("CM" if right == 3 else "RM") if multi else ("IG" if right == 3 else "IK")
        loose = ("CM" if right > 0 else "RM") if multi else strict
        metrics = BENCHMARKS["wemath"].aggregate(problem("3steps_1", 3, hits[:3], multi))
        assert (metrics["strict"], metrics["loose"]) == (POINTS[strict], POINTS[loose]), hits


def test_wemath_over_several_problems():
    """IK, IG, CM, and one that is RM when strict and CM when loose: 37.5 and 62.5 points."""
    rows = [
        *problem("2steps_1", 2, (0, 1), 0),
        *problem("2steps_2", 2, (1, 1), 0),
        *problem("3steps_1", 3, (1, 1, 1), 1),
        *problem("3steps_2", 3, (0, 0, 1), 1),
    ]
    metrics = BENCHMARKS["wemath"].aggregate(rows[::-1])
    assert metrics == {
        "mean": 50.0,
        "strict": 37.5,
        "loose": 62.5,
        "IK": 25.0,
        "IG": 25.0,
        "CM_strict": 25.0,
        "RM_strict": 25.0,
        "CM_loose": 50.0,
        "RM_loose": 0.0,
        "one_step": 70.0,
        "two_step": 0.0,
        "three_step": 100.0,
        "incomplete": 0.0,
        "unparsed": 0.0,
        "unscored": 0.0,
    }


def test_wemath_leaves_incomplete_problems_out_and_counts_them():
    whole = problem("2steps_1", 2, (1, 1), 1)
    missing = problem("2steps_2", 2, (0, 0), 0)[:2]
    unscored = problem("2steps_3", 2, (0, None), 0)
    metrics = BENCHMARKS["wemath"].aggregate([*whole, *missing, *unscored])
    assert metrics["mean"] == 100.0
    assert metrics["incomplete"] == pytest.approx(200 / 3)
    assert metrics["unscored"] == pytest.approx(100 / 8)


def test_wemath_takes_one_pass_at_a_time():
    rows = problem("2steps_1", 2, (1, 1), 1)
    with pytest.raises(ValueError, match=r"2steps_1 of 2steps_1 twice.*sample"):
        BENCHMARKS["wemath"].aggregate([*rows, rows[0]])
    with pytest.raises(ValueError, match=r"'2steps_3'"):
        BENCHMARKS["wemath"].aggregate([{**rows[0], "key": "2steps_3"}])


def hallusion(category, set_id, figure_id, question_id, hit, subcategory="map"):
    place = {"set_id": set_id, "figure_id": figure_id, "question_id": question_id}
    return {"category": category, "subcategory": subcategory, **place, "parsed": "Yes", "hit": hit}


# One set asked twice about two figures; one figure of another category with the same numbers.
HALLUSION = [
    hallusion("VD", "0", "0", "0", 1.0),
    hallusion("VD", "0", "0", "1", 1.0),
    hallusion("VD", "0", "1", "0", 1.0),
    hallusion("VD", "0", "1", "1", 0.0),
    hallusion("VS", "0", "1", "0", 0.0),
    hallusion("VS", "0", "1", "2", 1.0),
]


def test_hallusionbench_official_grouping():
    """Figures: VD 0 right, VD 1 and VS 1 not. Questions: VD 0 and VS 2 right, VD 1 and VS 0 not."""
    metrics = BENCHMARKS["hallusionbench"].aggregate(HALLUSION)
    assert metrics["aAcc"] == pytest.approx(400 / 6)
    assert metrics["fAcc"] == pytest.approx(100 / 3)
    assert metrics["qAcc"] == pytest.approx(50.0)
    assert metrics["mean"] == pytest.approx((400 / 6 + 100 / 3 + 50) / 3)


def test_hallusionbench_grouping_of_vlmevalkit_merges_the_categories():
    """Figures: 0 right, 1 not. Questions: 2 right; 0, which both categories have, and 1 not."""
    metrics = HallusionBench(grouping="vlmevalkit").aggregate(HALLUSION)
    assert (metrics["fAcc"], metrics["qAcc"]) == (50.0, pytest.approx(100 / 3))


def test_hallusionbench_layouts_group_alike():
    rows = [
        {
            "index": f"x_{row['category']}_map_{row['set_id']}_{row['figure_id']}_{row['question_id']}",
            "category": row["category"],
            "l2-category": "map",
            "parsed": "Yes",
            "hit": row["hit"],
        }
        for row in HALLUSION
    ]
    assert BENCHMARKS["hallusionbench"].aggregate(rows) == BENCHMARKS["hallusionbench"].aggregate(HALLUSION)


def test_hallusionbench_without_figure_and_without_hit():
    """VS questions without figure are no figure; a group with an unscored answer is in no share."""
    rows = [*HALLUSION, hallusion("VS", "5", "0", "0", 1.0), hallusion("VD", "0", "0", "1", None)]
    metrics = BENCHMARKS["hallusionbench"].aggregate(rows)
    assert metrics["aAcc"] == pytest.approx(500 / 7)
    assert metrics["fAcc"] == 0.0
    assert metrics["qAcc"] == pytest.approx(300 / 4)


def test_an_unknown_grouping_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'mine'.*'official' or 'vlmevalkit'"):
        HallusionBench(grouping="mine")


def test_ocrbench_is_out_of_1000_and_six_kinds_are_one_group():
    kinds = ["Regular Text Recognition", "Handwriting Recognition", "Doc-oriented VQA", "Doc-oriented VQA"]
    rows = [{"question_type": kind, "parsed": "x", "hit": hit} for kind, hit in zip(kinds, (1, 0, 1, 1), strict=True)]
    metrics = BENCHMARKS["ocrbench"].aggregate(rows)
    assert metrics == {
        "final_score": 750.0,
        "Text Recognition": 50.0,
        "Doc-oriented VQA": 100.0,
        "unparsed": 0.0,
        "unscored": 0.0,
    }


def test_mathverse_versions_and_text_only_apart():
    versions = ["Text Dominant", "Text Dominant", "Vision Only", "Text Only"]
    rows = [{"problem_version": v, "parsed": "x", "hit": hit} for v, hit in zip(versions, (1, 0, 0, 1), strict=True)]
    metrics = BENCHMARKS["mathverse"].aggregate(rows)
    assert metrics["accuracy"] == pytest.approx(100 / 3)
    assert (metrics["Text Dominant"], metrics["Vision Only"], metrics["Text Only"]) == (50.0, 0.0, 100.0)


def test_mathvista_without_geometry3k():
    sources = ["Geometry3K", "Geometry3K", "GEOS", "GEOS"]
    rows = [
        {"question_type": "free_form", "metadata": {"source": source}, "parsed": "x", "hit": hit}
        for source, hit in zip(sources, (0, 0, 1, 0), strict=True)
    ]
    metrics = BENCHMARKS["mathvista"].aggregate(rows)
    assert (metrics["accuracy"], metrics["free_form"], metrics["without_geometry3k"]) == (25.0, 25.0, 50.0)
    assert "without_geometry3k" not in BENCHMARKS["mathvista"].aggregate(
        [{"question_type": "free_form", "parsed": "x", "hit": 1}]
    )


def test_mmmu_and_mmstar_groups():
    rows = [{"options": "[]", "parsed": "x", "hit": 1}, {"options": "['a', 'b']", "parsed": "A", "hit": 0}]
    metrics = BENCHMARKS["mmmu"].aggregate(rows)
    assert (metrics["accuracy"], metrics["choice"], metrics["open"]) == (50.0, 0.0, 100.0)
    rows = [{"category": kind, "parsed": "A", "hit": hit} for kind, hit in (("math", 1), ("math", 0), ("logic", 1))]
    metrics = BENCHMARKS["mmstar"].aggregate(rows)
    assert (metrics["accuracy"], metrics["math"], metrics["logic"]) == (pytest.approx(200 / 3), 50.0, 100.0)


def test_unparsed_and_unscored_rows():
    """Unparsed is wrong; unscored counts nowhere but in its own share."""
    rows = [
        {"parsed": "A", "hit": 1.0},
        {"parsed": None, "hit": 0.0},
        {"parsed": "B", "hit": None},
        {"parsed": None, "hit": None},
    ]
    assert BENCHMARKS["ai2d"].aggregate(rows) == {"accuracy": 50.0, "unparsed": 50.0, "unscored": 50.0}


def test_nothing_scored_is_nan():
    metrics = BENCHMARKS["ai2d"].aggregate([{"parsed": None, "hit": None}])
    assert math.isnan(metrics["accuracy"])


def test_a_pass_without_rows_or_without_verdicts_is_an_error():
    with pytest.raises(ValueError, match="got none"):
        BENCHMARKS["ai2d"].aggregate([])
    with pytest.raises(ValueError, match=r"`parsed` and `hit`.*score it first"):
        BENCHMARKS["ai2d"].aggregate([{"answer": "B"}])


def test_accuracy_by_leaves_out_what_has_no_group():
    rows = [{"g": "b", "hit": 1}, {"g": None, "hit": 0}, {"g": "a", "hit": 0}]
    assert list(accuracy_by(rows, lambda row: row["g"]).items()) == [("a", 0.0), ("b", 100.0)]
