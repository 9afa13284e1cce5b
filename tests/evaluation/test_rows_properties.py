"""What must hold for every row: it is scored, or refused with the name of a field. Nothing worse, whatever is in it."""

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.answers.hostile_text import responses
from tests.evaluation.published_rows import ROWS
from verl_vaopd.evaluation.benchmarks import BENCHMARKS

seeded = settings(derandomize=True, deadline=None, max_examples=100)

TEXTS = (
    *("", " ", "None", "nan", "1,400", "1e999", "1/0", "9" * 400, "A", "b", "(B)", "[", "[1", "{", "{}", "[]", "['a']"),
    *("{'a': 1}", "_", "2steps_", "x_1_2_3", "²", "\ud800", "图", "\\frac{1}{0}", "\\boxed{", "<image 9>", "<image>"),
)
texts = st.sampled_from(TEXTS)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts, st.text(max_size=20))
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
SAMPLE = "A"


@st.composite
def spoilt_rows(draw):
    """A published row with another value in one of its fields, or without it."""
    name, fields, _ = ROWS[draw(st.sampled_from(sorted(ROWS)))]
    field = draw(st.sampled_from(sorted(fields)))
    rest = {column: value for column, value in fields.items() if column != field}
    return name, rest if draw(st.integers(0, 9)) == 0 else {**rest, field: draw(values)}


@seeded
@given(spoilt_rows(), responses)
@example(("mathvista", {**ROWS["mathvista_hf_float"][1], "answer_type": "integer", "answer": "1,400"}), "1400")
@example(("mathvista", {**ROWS["mathvista_hf_float"][1], "precision": "None"}), "1.2")
@example(("tinygeo", {**ROWS["tinygeo"][1], "prompt": [None]}), "\\boxed{42}")
@example(("ai2d", {**ROWS["ai2d_hf"][1], "options": []}), "A")
def test_a_row_is_scored_or_a_field_of_it_is_named(row, response):
    name, fields = row
    benchmark = BENCHMARKS[name]
    for protocol in benchmark.protocols:
        try:
            verdict = benchmark.score(fields, response, protocol, judge=lambda prompt: SAMPLE)
            benchmark.aggregate([{**fields, "parsed": verdict.parsed, "hit": verdict.hit}])
        except ValueError as error:
            assert str(error).partition(":")[0] in ("fields", "options", *fields)


@seeded
@given(st.lists(spoilt_rows(), min_size=1, max_size=3))
def test_what_loads_can_be_scored(tmp_path_factory, rows):
    """By any response, and counted: what a file may hold is decided when it is read."""
    name = rows[0][0]
    benchmark = BENCHMARKS[name]
    path = tmp_path_factory.mktemp("rows") / "rows.json"
    path.write_text(json.dumps([fields for _, fields in rows]))
    try:
        questions = list(benchmark.load(path))
    except ValueError as error:
        assert str(error).startswith(f"{path}: row ")
        return
    for question in questions:
        verdict = benchmark.score(question.fields, SAMPLE, "rule")
        benchmark.aggregate([{**question.fields, "parsed": verdict.parsed, "hit": verdict.hit}])
