"""What must hold for every response: scorers never raise and never hang, thinking does not count, order does not."""

from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.answers.hostile_text import responses, thoughts
from tests.evaluation.published_rows import ROWS
from verl_vaopd.evaluation.benchmarks import BENCHMARKS
from verl_vaopd.evaluation.benchmarks.ai2d import AI2D

seeded = settings(derandomize=True, deadline=None, max_examples=60)
few = settings(seeded, max_examples=15)

layouts = st.sampled_from(sorted(ROWS))
KINDS = {layout.replace("_hf", "").replace("_tsv", ""): layout for layout in ROWS}.values()
"""One layout of every benchmark and kind of answer."""


def judge_that_echoes(prompt):
    return prompt[-300:]


def verdicts(layout, response, *judges):
    name, fields, _ = ROWS[layout]
    for protocol in BENCHMARKS[name].protocols:
        for judge in judges if protocol == "official" else (None,):
            yield BENCHMARKS[name].score(fields, response, protocol, judge=judge)


@seeded
@given(responses)
@example("\\boxed{" + "9" * 300 + ".5}")
@example("Answer: 1e999")
@example("\\boxed{0^{-1}}")
def test_no_response_raises(response):
    for layout in ROWS:
        for verdict in verdicts(layout, response, None, judge_that_echoes, lambda prompt: response):
            assert verdict.hit in (None, 0.0, 1.0)
            assert verdict.parsed is None or verdict.parsed != ""


FREE = ["mathvista_hf_float", "mathverse_free", "mmmu_hf_open", "ocrbench_hf_text", "geo3k", "custom_free"]
GOLDS = [
    "1,400",
    "1,400.5",
    "-3",
    "٣",
    "nan",
    "inf",
    "1e999",
    "None",
    "N/A",
    "{",
    "[1, 2",
    "3/4",
    "½",
    "<",
    " ",
    "0.1.2",
    "2-5",
]


@pytest.mark.parametrize("gold", GOLDS)
def test_no_gold_raises(gold):
    for layout in FREE:
        name, fields, _ = ROWS[layout]
        kinds = ("integer", "float", "list", "text") if name == "mathvista" else (None,)
        for kind in kinds:
            row = {**fields, "answer": [gold] if kind == "list" else gold}
            if kind:
                row |= {"question_type": "free_form", "answer_type": kind, "choices": None, "precision": None}
            for response in ("1400", gold, f"The answer is {gold}.", ""):
                assert BENCHMARKS[name].score(row, response, "rule").hit in (0.0, 1.0)


HOSTILE = {
    "open boxes": "\\boxed{" * 1500,
    "nested boxes": "\\boxed{" * 1500 + "}" * 1500,
    "braces": "{" * 30_000,
    "closing braces": "}" * 30_000,
    "nested braces in a box": "\\boxed{" + "{" * 150 + "1" + "}" * 150 + "}",
    "nested fractions": "\\boxed{" + "\\frac{1}{" * 40 + "2" + "}" * 40 + "}",
    "tower of powers": "\\boxed{" + "9^" * 190 + "9}",
    "long number": "\\boxed{" + "9" * 399 + "}",
    "digits": "9" * 30_000,
    "digits and a letter": "9" * 30_000 + "x",
    "groups of digits": "1" + ",111" * 10_000 + "x",
    "long list": "\\boxed{" + "1," * 190 + "1}",
    "signs": "\\boxed{" + "-" * 390 + "}",
    "equals": "\\boxed{" + "=" * 390 + "}",
    "thoughts": "<think>" * 5000,
    "ends of thoughts": "</think>" * 5000,
    "nested thoughts": "<think>" * 5000 + "</think>" * 5000,
    "answer marks": "the answer is " * 5000,
    "answers without mark": "answer" * 10_000,
    "letters": "A B C D " * 8000,
    "bracketed letters": "(A) (B) " * 8000,
    "choices": "option A is " * 5000,
    "indicators": "so is thus therefore final answer result = " * 2000,
    "spaces": " " * 100_000,
    "spaces after an answer": "answer" + " " * 100_000 + "is",
    "newlines": "\n" * 100_000,
    "backslashes": "\\" * 50_000,
    "wrappers": "\\text{" * 5000 + "}" * 5000,
    "stars": "*" * 100_000,
    "dollars": "$" * 100_000,
    "yes and no": "yes no " * 10_000,
    "brackets": "(" * 100_000,
    "square brackets": "[" * 100_000 + "]" * 100_000,
    "brackets in an answer": "Answer: " + "([{" * 100 + "1" + "}])" * 100,
    "powers of powers": "\\boxed{9^9^9^9}",
    "powers of powers in a sentence": "The answer is 9^9^9^9^9^9 meters^9",
    "powers of brackets": "Answer: ((((9^9)^9)^9)^9)^9",
    "fractions without end": "\\frac{" * 30_000,
    "fractions of fractions": "Answer: " + "\\frac{1}{" * 10_000 + "2" + "}" * 10_000,
    "roots of roots": "\\boxed{" + "\\sqrt{" * 50 + "2" + "}" * 50 + "}",
    "a large exponent": "\\boxed{1e999 + 1e-999 + 10^{10^{10}}}",
    "choices of choices": "so 选 B, 选项 " * 10_000,
    "bounds of formulas": "it is: $ \\[ ` " * 10_000,
    "quotients": "\\boxed{" + "1/" * 190 + "3}",
    "equations in a line": "x = " * 30_000 + "5",
    "words without end": "is is are equals " * 10_000,
}


@pytest.mark.timeout(60)  # a hundred times what it takes; a quadratic scorer needs longer
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_responses_are_scored_in_bounded_time(kind):
    for layout in KINDS:
        for verdict in verdicts(layout, HOSTILE[kind], lambda prompt: HOSTILE[kind]):
            assert verdict.hit in (None, 0.0, 1.0)


def inside_thoughts(response, thought):
    """The response with a thought added to each of its think-blocks, or with one such block."""
    if "<think>" in response:
        return response.replace("<think>", f"<think>{thought}")
    return f"<think>{thought}</think>{response}"


@seeded
@given(layouts, st.sampled_from(["", "<think>hm</think>", "<think>a<think>b</think>c</think>"]), thoughts, st.data())
def test_what_is_added_inside_a_think_block_changes_no_score(layout, block, thought, data):
    name, fields, right = ROWS[layout]
    response = block + data.draw(st.sampled_from([right, "\\boxed{A}", "Answer: 5", "no", "", "\\boxed{"]))
    changed = inside_thoughts(response, thought)
    assert BENCHMARKS[name].score(fields, changed, "rule") == BENCHMARKS[name].score(fields, response, "rule")


@seeded
@given(layouts, st.lists(responses, min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_what_was_scored_before_changes_no_score(layout, samples, random):
    name, fields, right = ROWS[layout]
    samples = [*samples, right]

    def hits(texts):
        return Counter((text, BENCHMARKS[name].score(fields, text, "rule").hit) for text in texts)

    found = hits(samples)
    assert hits(random.sample(samples, len(samples))) == found
    assert found[right, 1.0]


@seeded
@given(st.lists(st.sampled_from([0.0, 1.0, None]), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_no_metric(hits, random):
    places = [(number // 4, number // 2 % 2, number % 2) for number in range(len(hits))]
    rows = [
        {
            "category": "VD",
            "subcategory": "map",
            "set_id": s,
            "figure_id": f,
            "question_id": q,
            "parsed": None,
            "hit": hit,
        }
        for (s, f, q), hit in zip(places, hits, strict=True)
    ]
    metrics = BENCHMARKS["hallusionbench"].aggregate(rows)
    shuffled = BENCHMARKS["hallusionbench"].aggregate(random.sample(rows, len(rows)))
    assert shuffled == pytest.approx(metrics, nan_ok=True, abs=1e-9)


@seeded
@given(st.lists(st.tuples(*[st.booleans()] * 3), min_size=1, max_size=30))
def test_wemath_outcomes_are_a_partition_and_loose_is_never_below_strict(problems):
    keys = ("2steps_1", "2steps_2", "2steps_multi")
    rows = [
        {"ID": str(number), "key": key, "parsed": "A", "hit": float(hit)}
        for number, hits in enumerate(problems)
        for key, hit in zip(keys, hits, strict=True)
    ]
    metrics = BENCHMARKS["wemath"].aggregate(rows)
    for how in ("strict", "loose"):
        outcomes = metrics["IK"] + metrics["IG"] + metrics[f"CM_{how}"] + metrics[f"RM_{how}"]
        assert outcomes == pytest.approx(100.0)
        assert metrics[how] == pytest.approx(metrics[f"CM_{how}"] + metrics["IG"] / 2)
    assert metrics["strict"] <= metrics["loose"] + 1e-9


@few
@given(st.integers(0, 2**31), st.lists(responses, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_a_random_fallback_depends_on_seed_and_response_alone(seed, samples, random):
    fields, guessing = ROWS["ai2d_hf"][1], AI2D(random_fallback=True)

    def verdicts(texts):
        return Counter(guessing.score(fields, text, "official", judge=lambda p: "?", seed=seed) for text in texts)

    assert verdicts(samples) == verdicts(random.sample(samples, len(samples)))
