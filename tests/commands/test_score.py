"""`vaopd eval score` and `aggregate`: rows in, rows out, errors with the number of their line, nothing heavy."""

import argparse
import io
import json
import math
import subprocess
import sys

import pytest

from tests.evaluation.published_rows import NEEDS_JUDGE, ROWS
from verl_vaopd.commands import score
from verl_vaopd.evaluation.benchmarks import BENCHMARKS, PAPER


def parser():
    parser = argparse.ArgumentParser()
    score.add_commands(parser.add_subparsers(required=True))
    return parser


@pytest.fixture
def run(monkeypatch, capsys):
    def run(arguments, rows):
        lines = rows if isinstance(rows, bytes) else "".join(json.dumps(row) + "\n" for row in rows).encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
        options = parser().parse_args(arguments)
        assert options.command(options) == 0
        return capsys.readouterr().out

    return run


def scored(out):
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize("layout", ROWS)
def test_score_writes_rows_back_with_parsed_and_hit(run, layout):
    name, fields, response = ROWS[layout]
    row = {**fields, "response": response, "sample": 3, "more": {"ü": [None, 1.5]}}
    (written,) = scored(run(["score", name, "--protocol", "rule"], [row]))
    assert written.pop("hit") == 1.0
    assert written.pop("parsed")
    assert written == row


@pytest.mark.parametrize("layout", [layout for layout, (name, _, _) in ROWS.items() if name in PAPER])
def test_score_officially_without_a_judge(run, layout):
    name, fields, response = ROWS[layout]
    (written,) = scored(run(["score", name, "--protocol", "official"], [{**fields, "response": response}]))
    assert written["hit"] == (None if name in NEEDS_JUDGE else 1.0)


def test_a_failed_sample_is_null_and_wrong(run):
    _, fields, _ = ROWS["ai2d_hf"]
    (written,) = scored(run(["score", "ai2d", "--protocol", "rule"], [{**fields, "response": None}]))
    assert (written["parsed"], written["hit"]) == (None, 0.0)


def test_the_order_and_empty_lines_are_kept_apart(run):
    _, fields, _ = ROWS["ai2d_hf"]
    lines = [json.dumps({**fields, "response": letter}) for letter in "BAC"]
    out = run(["score", "ai2d", "--protocol", "rule"], "\n\n  \n".join(lines).encode())
    assert [row["response"] for row in scored(out)] == ["B", "A", "C"]


def test_text_that_no_encoding_has_goes_through(run):
    lines = b'{"question": "q", "options": ["a", "b"], "answer": "0", "response": "A \\ud800 \\u56fe"}'
    (written,) = scored(run(["score", "ai2d", "--protocol", "official", "--random-fallback"], lines))
    assert written["response"] == "A \ud800 图"


def test_random_fallback_is_a_switch_with_a_seed(run):
    row = {**ROWS["mmmu_hf_choice"][1], "response": "?"}
    plain = ["score", "mmmu", "--protocol", "official"]
    assert scored(run(plain, [row]))[0]["parsed"] is None
    drawn = [scored(run([*plain, "--random-fallback", "--seed", str(seed)], [row]))[0]["parsed"] for seed in range(12)]
    assert set(drawn) == {"A", "B", "C"}
    assert drawn == [
        scored(run([*plain, "--random-fallback", "--seed", str(seed)], [row]))[0]["parsed"] for seed in range(12)
    ]


GOOD = json.dumps({**ROWS["ai2d_hf"][1], "response": "B"}).encode() + b"\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"question": ', r"line 2: got .*expected one JSON object"),
        (b"[1, 2]", r"line 2: got a list, expected a JSON object"),
        (b'"text"', r"line 2: got a str"),
        (b"\xff\xfe", r"line 2: got .*"),
        (b"[" * 200_000, r"line 2: got .*"),
        (b'{"question": "q", "options": ["a", "b"], "answer": "0"}', r"line 2: response: got none, expected a text"),
        (b'{"question": "q", "options": ["a"], "answer": "0", "response": 5}', r"line 2: response: got 5"),
        (b'{"question": "q", "response": "B"}', r"line 2: fields: got 'question', 'response', expected 'options'"),
        (b'{"options": ["a"], "response": "B"}', r"line 2: .*'answer'"),
        (b'{"question": "q", "options": ["a"], "answer": "7", "response": "B"}', r"line 2: answer: got '7'"),
    ],
)
def test_a_bad_row_is_told_with_its_line(run, line, message):
    with pytest.raises(ValueError, match=message):
        run(["score", "ai2d", "--protocol", "rule"], GOOD + line)


@pytest.mark.parametrize("command", [["score", "ai3d", "--protocol", "rule"], ["aggregate", "ai3d"]])
def test_an_unknown_benchmark_names_the_known_ones(run, command):
    with pytest.raises(ValueError, match=r"'ai3d'.*wemath.*custom"):
        run(command, [])


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["score", "wemath", "--protocol", "official", "--random-fallback"], r"--random-fallback: .*wemath"),
        (["aggregate", "wemath", "--grouping", "official"], r"--grouping: .*wemath"),
        (["aggregate", "hallusionbench", "--grouping", "mine"], r"grouping: got 'mine'"),
        (["score", "geo3k", "--protocol", "official"], r"line 1: protocol: got 'official'"),
    ],
)
def test_a_switch_that_a_benchmark_does_not_have(run, command, message):
    with pytest.raises(ValueError, match=message):
        run(command, [{**ROWS["geo3k"][1], "response": "x"}])


def test_the_protocol_must_be_named():
    with pytest.raises(SystemExit):
        parser().parse_args(["score", "ai2d"])


def passes(hits_by_sample):
    """WeMath problems of two sub-steps; hits of both and of the whole, by problem and sample."""
    keys = ("2steps_1", "2steps_2", "2steps_multi")
    return [
        {"ID": f"2steps_{number}", "key": key, "parsed": "A", "hit": hit, "sample": sample, "response": "A"}
        for sample, problems in hits_by_sample.items()
        for number, hits in enumerate(problems)
        for key, hit in zip(keys, hits, strict=True)
    ]


def test_group_metrics_are_computed_per_pass_and_then_averaged(run):
    """Sample 0 masters the problem (100 points), sample 1 only its sub-steps (50); the mean hit would say otherwise."""
    rows = passes({0: [(1, 1, 1)], 1: [(1, 1, 0)]})
    told = json.loads(run(["aggregate", "wemath", "--json"], rows[::-1]))
    assert {name: metrics["mean"] for name, metrics in told["passes"].items()} == {"0": 100.0, "1": 50.0}
    assert told["mean"]["mean"] == 75.0
    assert told["benchmark"] == "wemath"


def test_the_table_has_a_column_per_pass(run):
    lines = run(["aggregate", "wemath"], passes({10: [(1, 1, 1)], 2: [(1, 1, 0)]})).splitlines()
    assert lines[0].split() == ["metric", "sample", "2", "sample", "10", "mean"]
    assert lines[1].split() == ["mean", "50.00", "100.00", "75.00"]
    assert len({len(line) for line in lines}) == 1


def test_rows_without_sample_are_one_pass(run):
    rows = [{"parsed": "B", "hit": hit} for hit in (1, 0, 1, None)]
    told = json.loads(run(["aggregate", "ai2d", "--json"], rows))
    assert told["passes"]["0"] == {"accuracy": pytest.approx(200 / 3), "unparsed": 0.0, "unscored": 25.0}


def test_what_score_writes_aggregate_reads(run):
    rows = [{**fields, "response": response} for name, fields, response in ROWS.values() if name == "hallusionbench"]
    out = run(["score", "hallusionbench", "--protocol", "rule"], rows[:1])
    told = json.loads(run(["aggregate", "hallusionbench", "--json"], out.encode()))
    assert told["mean"]["mean"] == 100.0
    assert json.loads(run(["aggregate", "hallusionbench", "--json", "--grouping", "vlmevalkit"], out.encode())) == told


def test_passes_of_different_length_are_not_averaged(run):
    rows = [{"parsed": "B", "hit": 1, "sample": sample} for sample in (0, 0, 1)]
    with pytest.raises(ValueError, match=r"2 rows of sample 0, 1 rows of sample 1"):
        run(["aggregate", "ai2d"], rows)


def test_a_group_that_one_pass_lacks_has_no_mean(run):
    rows = [{"category": kind, "parsed": "A", "hit": 1, "sample": s} for s, kind in enumerate(("math", "logic"))]
    metrics = score.metrics_per_pass(BENCHMARKS["mmstar"], {str(row["sample"]): [row] for row in rows})
    assert math.isnan(metrics["0"]["logic"])
    assert "nan" in run(["aggregate", "mmstar"], rows)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (b"", r"got no rows"),
        (b'{"hit": 1}', r"line 1: .*`vaopd eval score`"),
        (b'{"parsed": null, "hit": 1}\n{', r"line 2"),
    ],
)
def test_aggregate_tells_what_it_cannot_read(run, lines, message):
    with pytest.raises(ValueError, match=message):
        run(["aggregate", "ai2d"], lines)


def test_json_has_no_nan(run):
    """A group without a scored row, and one that a pass lacks, are null."""
    rows = [
        {"category": kind, "parsed": "A", "hit": hit, "sample": s}
        for s, (kind, hit) in enumerate([("x", 1), ("y", None)])
    ]
    told = json.loads(run(["aggregate", "mmstar", "--json"], rows), parse_constant=pytest.fail)
    assert told["passes"]["1"]["accuracy"] is told["mean"]["accuracy"] is told["passes"]["0"]["y"] is None
    assert told["passes"]["0"]["x"] == 100.0
    line = b'{"question": "q", "options": ["a"], "answer": "0", "response": "A", "more": [NaN, Infinity, 1.5]}'
    assert json.loads(run(["score", "ai2d", "--protocol", "rule"], line), parse_constant=pytest.fail)["more"][2] == 1.5


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("ai2d", {"parsed": "A", "hit": "1"}, "line 1: hit: got '1', expected 1, 0 or null"),
        ("ai2d", {"parsed": "A", "hit": True}, "line 1: hit: got True"),
        (
            "wemath",
            {"ID": "1", "key": "4steps_1", "parsed": "A", "hit": 1},
            "line 1: key: got '4steps_1', expected one such",
        ),
        ("ocrbench", {"type": "Poems", "parsed": "A", "hit": 1}, "line 1: type: got 'Poems', expected 'Regular Text"),
        ("mmstar", {"parsed": "A", "hit": 1}, "line 1: fields: got 'parsed', 'hit', expected 'category' with a value"),
    ],
)
def test_aggregate_names_line_field_and_value(run, name, row, message):
    with pytest.raises(ValueError, match=message):
        run(["aggregate", name], [row])


@pytest.mark.parametrize(
    ("layout", "more", "message"),
    [
        (
            "mathvista_hf_float",
            {"precision": "None"},
            "precision: got 'None', expected a number of decimals, or nothing",
        ),
        ("mathvista_hf_float", {"precision": "1e999"}, "precision: got '1e999'"),
        ("mathvista_hf_float", {"answer_type": "int"}, "answer_type: got 'int', expected 'text' or 'integer' or"),
        ("mathvista_hf_choice", {"question_type": "choice"}, "question_type: got 'choice', expected 'multi_choice' or"),
        ("mathvista_hf_choice", {"choices": "[]"}, "choices: got none for a question with choices"),
        ("mathverse_choice", {"question_type": "open"}, "question_type: got 'open', expected 'multi-choice' or"),
        ("hallusionbench_hf", {"gt_answer": "None"}, "gt_answer: got 'none', expected yes or no, 1 or 0"),
        ("tinygeo", {"reward_model": {}}, "reward_model: got {}, expected a struct with 'ground_truth'"),
    ],
)
def test_score_names_line_field_and_value(run, layout, more, message):
    name, fields, response = ROWS[layout]
    with pytest.raises(ValueError, match=f"line 1: {message}"):
        run(["score", name, "--protocol", "rule"], [{**fields, **more, "response": response}])


@pytest.mark.parametrize("gold", ["1,400", "1 400", "abc", "12a", "1/0", "", "[1", "∞", "1e999"])
@pytest.mark.parametrize("kind", ["integer", "float", "list"])
def test_no_gold_of_mathvista_stops_the_command(run, kind, gold):
    fields = {**ROWS["mathvista_hf_float"][1], "answer_type": kind, "answer": gold or " ", "precision": 1}
    rows = [{**fields, "response": text} for text in ("1400", f"Answer: {gold}", "")]
    hits = [row["hit"] for row in scored(run(["score", "mathvista", "--protocol", "rule"], rows))]
    assert hits[2] == 0.0
    if kind != "list" and gold in ("1,400", "abc"):
        assert hits == [float(gold == "1,400"), 1.0, 0.0]


def test_rows_may_stand_in_a_list_or_by_their_ids(run):
    rows = [{**ROWS["ai2d_hf"][1], "response": letter} for letter in "BA"]
    for content in (rows, {"7": rows[0], "8": rows[1]}):
        out = scored(run(["score", "ai2d", "--protocol", "rule"], json.dumps(content, indent=1).encode()))
        assert [row["hit"] for row in out] == [1.0, 0.0]


def test_mmmus_own_output_files_are_choices(run):
    row = {
        **{"id": "validation_Accounting_1", "question_type": "multiple-choice", "answer": "B", "response": "it is $7."},
        **{"all_choices": ["A", "B"], "index2ans": {"A": "$6", "B": "$7"}},
    }
    for protocol, *switches in (["rule"], ["official"], ["official", "--random-fallback"]):
        rows = [{**row, "response": text} for text in ("(B)", "(A)")]
        out = scored(run(["score", "mmmu", "--protocol", protocol, *switches], rows))
        assert [(one["parsed"], one["hit"]) for one in out] == [("B", 1.0), ("A", 0.0)]
    out = scored(run(["score", "mmmu", "--protocol", "official", "--random-fallback"], [{**row, "response": "?"}]))
    assert out[0]["parsed"] in ("A", "B")  # by its id, as there is no question
    told = json.loads(run(["aggregate", "mmmu", "--json"], [{**row, "parsed": "B", "hit": 1}]))
    assert told["mean"]["choice"] == 100.0 and "open" not in told["mean"]


def test_answers_that_no_response_can_give_are_told(run, capsys):
    rows = [{**ROWS["mmmu_hf_choice"][1], "answer": letter, "response": "B"} for letter in "bZZ"]
    options = parser().parse_args(["score", "mmmu", "--protocol", "rule"])
    sys.stdin = io.TextIOWrapper(io.BytesIO("".join(json.dumps(row) + "\n" for row in rows).encode()))
    options.command(options)
    printed = capsys.readouterr()
    assert [row["hit"] for row in scored(printed.out)] == [1.0, 0.0, 0.0]
    assert (
        "2 rows that no response can answer rightly:\n  line 2: answer: got 'Z', expected one of A, B, C" in printed.err
    )


def test_end_tokens_are_left_out_and_counted(run, capsys):
    name, fields, right = ROWS["custom_free"]
    rows = [{**fields, "response": response} for response in (right, f"{right}<|im_end|>\n", None)]
    options = parser().parse_args(["score", name, "--protocol", "rule"])
    sys.stdin = io.TextIOWrapper(io.BytesIO("".join(json.dumps(row) + "\n" for row in rows).encode()))
    options.command(options)
    printed = capsys.readouterr()
    assert [row["hit"] for row in scored(printed.out)] == [1.0, 1.0, 0.0]
    assert printed.err == "1 responses end with an end token; `rule` leaves it out\n"


HEAVY = [
    "torch",
    "numpy",
    "pandas",
    "pyarrow",
    "transformers",
    "vllm",
    "verl",
    "ray",
    "omegaconf",
    "sympy",
    "math_verify",
]
PROGRAM = f"""
import argparse, sys
from verl_vaopd.commands import score
parser = argparse.ArgumentParser()
score.add_commands(parser.add_subparsers(required=True))
options = parser.parse_args()
options.command(options)
print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""


def test_scoring_imports_nothing_heavy():
    row = json.dumps({**ROWS["mathverse_free"][1], "response": ROWS["mathverse_free"][2]})
    command = [sys.executable, "-c", PROGRAM, "score", "mathverse", "--protocol", "rule"]
    done = subprocess.run(command, input=row, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["hit"] == 1.0
    assert done.stderr.strip() == "[]"


def test_a_reader_that_has_seen_enough_is_no_error():
    row = json.dumps({**ROWS["ai2d_hf"][1], "response": "B", "padding": "x" * 5000})
    command = [sys.executable, "-c", PROGRAM, "score", "ai2d", "--protocol", "rule"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    _, errors = process.communicate((row + "\n") * 100)
    assert (process.returncode, errors.strip()) == (0, "[]")
