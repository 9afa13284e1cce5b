"""The cross-check: its cases, the files it writes, the comparison, and what two frameworks were recorded to say."""

import ast
import csv
import dataclasses
import json
import sys

import pytest

from benchmarks import crosscheck_page
from verl_vaopd.commands import evaluate
from verl_vaopd.evaluation.benchmark import Verdict
from verl_vaopd.evaluation.benchmarks import BENCHMARKS, PAPER
from verl_vaopd.evaluation.crosscheck import comparison, outcomes
from verl_vaopd.evaluation.crosscheck.backends import BACKENDS, check_interpreter
from verl_vaopd.evaluation.crosscheck.case import Case
from verl_vaopd.evaluation.crosscheck.cases import synthetic
from verl_vaopd.evaluation.crosscheck.comparison import Compared, ComparedMetric
from verl_vaopd.evaluation.crosscheck.difference import Difference
from verl_vaopd.evaluation.crosscheck.layouts import write_inputs
from verl_vaopd.evaluation.crosscheck.outcomes import Outcome, Outcomes, read_outcomes
from verl_vaopd.evaluation.published import read_rows

CASES = {name: synthetic(backend.layout) for name, backend in BACKENDS.items()}
RECORDED = {name: crosscheck_page.RECORDED / f"{name}.jsonl" for name in BACKENDS}

both = pytest.mark.parametrize("name", BACKENDS)


# Cases.


@both
def test_hundreds_of_cases_over_all_eight_benchmarks(name):
    counts = {benchmark: sum(case.benchmark == benchmark for case in CASES[name]) for benchmark in PAPER}
    assert sum(counts.values()) == len(CASES[name]) > 600
    assert min(counts.values()) >= 20
    assert len({(case.benchmark, case.id) for case in CASES[name]}) == len(CASES[name])


@both
def test_cases_are_the_same_every_time(name):
    again = synthetic(BACKENDS[name].layout)
    assert [case.input_hash for case in again] == [case.input_hash for case in CASES[name]]
    assert len({case.input_hash for case in again}) == len(again)


TRAPS = {
    ("wemath", r"<think>It could be B...</think> \boxed{C}"),
    ("ai2d", r"\boxed{B}"),
    ("mmstar", "CD"),
    ("mmmu", "I do not know."),
    ("mathvista", "[2014, 2016]"),
    ("mathvista", "14°"),
    ("mathverse", r"\boxed{22.3}"),
    ("hallusionbench", "They are equally long."),
    ("ocrbench", "yesterday"),
    ("ocrbench", "y _ { 2 }\n= - 1"),
}


@both
def test_known_traps_are_among_the_cases(name):
    assert {(case.benchmark, case.response) for case in CASES[name]} >= TRAPS


@both
def test_problems_of_wemath_have_all_their_steps(name):
    rows = [{**case.fields, "parsed": None, "hit": 1.0} for case in CASES[name] if case.benchmark == "wemath"]
    assert BENCHMARKS["wemath"].aggregate(rows)["incomplete"] == 0.0


def test_a_judge_says_what_it_is_told_by_role():
    fields = next(case.fields for case in CASES["vlmevalkit"] if case.benchmark == "mathverse")
    told = Case("mathverse", "1", fields, "so C", {"extraction": "C", "comparison": "0"})
    score = BENCHMARKS["mathverse"].score
    assert score(fields, "so C", "official", told.judge()) == Verdict("C", 0.0)
    assert (
        score(fields, "so C", "official", dataclasses.replace(told, replies={"extraction": None}).judge()).hit is None
    )
    assert dataclasses.replace(told, replies={}).judge() is None


# Input files.


def test_vlmevalkit_files_are_read_back_by_our_own_loader(tmp_path):
    write_inputs(BACKENDS["vlmevalkit"], CASES["vlmevalkit"], tmp_path)
    datasets = json.loads((tmp_path / "datasets.json").read_text())
    assert datasets == {name: BENCHMARKS[name].tsv for name in PAPER}
    for benchmark, dataset in datasets.items():
        cases = [case for case in CASES["vlmevalkit"] if case.benchmark == benchmark]
        said = [json.loads(line) for line in (tmp_path / "responses" / f"{benchmark}.jsonl").open()]
        rows = list(read_rows(tmp_path / "LMUData" / f"{dataset}.tsv", (), ()))
        assert [row["response"] for row in said] == [case.response for case in cases]
        assert [row["index"] for row in said] == [row.fields["index"] for row in rows]
        assert len({row["index"] for row in said}) == len(said)
        for case, row in zip(cases, rows, strict=True):
            assert {name: row.fields[name] for name in case.fields if name != "index"} == {
                name: value for name, value in case.fields.items() if name != "index"
            }
            assert len(row.images) == 1
        with (tmp_path / "LMUData" / f"{dataset}.tsv").open(newline="") as file:
            cells = [row["image"] for row in csv.DictReader(file, dialect="excel-tab")]
        assert len(cells[0]) > 64
        assert set(cells[1:]) == {rows[0].fields["index"]}


def test_hallusionbench_indices_keep_set_figure_and_question(tmp_path):
    write_inputs(BACKENDS["vlmevalkit"], CASES["vlmevalkit"], tmp_path)
    rows = [row.fields for row in read_rows(tmp_path / "LMUData" / "HallusionBench.tsv", (), ())]
    cases = [case for case in CASES["vlmevalkit"] if case.benchmark == "hallusionbench"]
    assert [row["index"].split("_")[1:] for row in rows] == [case.fields["index"].split("_")[1:] for case in cases]


def test_lmms_eval_gets_documents_as_published(tmp_path):
    write_inputs(BACKENDS["lmms-eval"], CASES["lmms-eval"], tmp_path)
    for benchmark in PAPER:
        rows = [json.loads(line) for line in (tmp_path / "responses" / f"{benchmark}.jsonl").open()]
        cases = [case for case in CASES["lmms-eval"] if case.benchmark == benchmark]
        assert [row["fields"] for row in rows] == [case.fields for case in cases]
        assert [row["replies"] for row in rows] == [case.replies for case in cases]
    assert not (tmp_path / "LMUData").exists()


def test_columns_that_would_be_taken_for_scores_are_left_out(tmp_path):
    case = next(case for case in CASES["vlmevalkit"] if case.benchmark == "wemath")
    scored = dataclasses.replace(case, fields={**case.fields, "hit": 1.0, "parsed": "C", "sample": 0})
    write_inputs(BACKENDS["vlmevalkit"], [scored], tmp_path)
    (row,) = read_rows(tmp_path / "LMUData" / "WeMath.tsv", (), ())
    assert not {"hit", "parsed", "sample"} & row.fields.keys()


@both
def test_a_missing_column_is_named_and_nothing_written(name, tmp_path):
    case = next(case for case in CASES[name] if case.benchmark == "wemath")
    fields = {column: value for column, value in case.fields.items() if column != "key"}
    with pytest.raises(ValueError, match=rf"wemath: .*'key'.*{name} needs"):
        write_inputs(BACKENDS[name], [dataclasses.replace(case, fields=fields)], tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_directory_in_use_is_refused(tmp_path):
    (tmp_path / "old.xlsx").touch()
    with pytest.raises(ValueError, match=r"--out: .*which holds old\.xlsx; expected a new or empty directory"):
        write_inputs(BACKENDS["lmms-eval"], CASES["lmms-eval"][:1], tmp_path)


# Errors before anything expensive.


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--backend", "vlmeval", "--python", sys.executable],
            r"--backend: got 'vlmeval', expected vlmevalkit or lmms",
        ),
        (["--backend", "lmms-eval", "--python", "no/such/python"], r"(?s)no program; .*uv venv.*lmms-eval==0\.7\.3"),
        (["--backend", "lmms-eval", "--python", "false"], r"'false', which does not run as a Python interpreter"),
        (["--backend", "lmms-eval", "--python", "echo"], r"'echo', which does not run as a Python interpreter"),
        (["--backend", "vlmevalkit", "--python", sys.executable], r"(?s)has no module vlmeval; .*checkout e8e78f0"),
        (
            ["--backend", "lmms-eval", "--python", "x", "--benchmark", "geo3k"],
            r"--benchmark: got 'geo3k', expected one",
        ),
        (["--backend", "lmms-eval", "--python", "x", "--responses", "r"], r"--responses: got no --benchmark"),
        (["--backend", "lmms-eval", "--recorded", "none.jsonl"], r"none\.jsonl: got FileNotFoundError.*a cross-check"),
    ],
)
def test_mistakes_are_told(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        evaluate.main(["crosscheck", *words])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"expected a JSONL file"),
        ("", r"got no rows"),
        ('{"response": "B"}\n{', r"line 2: got .*expected one JSON object"),
        ('{"response": 5}', r"line 1: expected a text"),
        ('{"response": "B", "sample": 0}\n{"response": "B", "sample": 1}', r"got samples 0, 1, expected .*one pass"),
        ('{"response": "B"}', r"ai2d: line 1: got no column 'options', 'answer', which lmms-eval needs"),
    ],
)
def test_mistakes_in_responses_are_told(text, message, tmp_path, stand_in):
    path = tmp_path / "responses.jsonl"
    if text is not None:
        path.write_text(text)
    words = ["--backend", "lmms-eval", "--python", sys.executable, "--benchmark", "ai2d", "--responses", str(path)]
    with pytest.raises(ValueError, match=message):
        evaluate.main(["crosscheck", *words, "--out", str(tmp_path / "out")])


# Runs.

STAND_IN = """
import json, os, pathlib, sys
directory = pathlib.Path(sys.argv[1])
assert os.environ["OPENAI_API_KEY"] == "none" and "PYTHONPATH" not in os.environ
assert "verl_vaopd" not in sys.modules
with (directory / "outcomes.jsonl").open("w") as out:
    print(json.dumps({"framework": "stand-in 1.0", "versions": {"python": "3"}}), file=out)
    for path in sorted((directory / "responses").glob("*.jsonl")):
        for line in path.open():
            row = json.loads(line)
            row = {"benchmark": path.stem, "case": row["case"], "input": row["input"]}
            print(json.dumps({**row, "hit": float("B" in line.split('"fields"')[0])}), file=out)
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A framework that holds every response with a B for right, for this interpreter."""
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    backend = dataclasses.replace(BACKENDS["lmms-eval"], module="json", runner=script)
    monkeypatch.setitem(BACKENDS, "lmms-eval", backend)
    monkeypatch.setenv("PYTHONPATH", "somewhere")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    return script


def run_on(tmp_path, rows):
    path = tmp_path / "responses.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    words = ["--backend", "lmms-eval", "--python", sys.executable, "--benchmark", "ai2d", "--responses", str(path)]
    return evaluate.main(["crosscheck", *words, "--out", str(tmp_path / "out")])


def test_responses_of_a_user(tmp_path, stand_in, capsys):
    question = {"question": "Which?", "options": ["hawk", "mouse"], "answer": "1"}
    rows = [{**question, "response": text} for text in ("B", "A", "mouse", None)]
    assert run_on(tmp_path, rows) == 0
    *_, counts, differing = capsys.readouterr().out.splitlines()
    assert counts.split() == ["ai2d", "rule", "4", "3", "1", "0"]
    assert differing == "ai2d: 'line 3': ours 1 ('B'), theirs 0: 'mouse'"
    assert len((tmp_path / "out" / "outcomes.jsonl").read_text().splitlines()) == 5


def test_a_framework_that_stops_is_told_with_its_last_words(tmp_path, stand_in):
    stand_in.write_text("import sys\nprint('first')\nsys.exit('no such column')")
    with pytest.raises(ValueError, match=r"lmms-eval stopped with exit code 1, see .*log\.txt.*\n.*\nno such column"):
        run_on(tmp_path, [{"options": ["hawk", "mouse"], "answer": "1", "response": "B"}])


def test_an_interpreter_with_the_framework_passes(stand_in):
    assert check_interpreter(BACKENDS["lmms-eval"], sys.executable) == sys.executable


@both
def test_scripts_for_other_interpreters_import_nothing_of_ours(name):
    tree = ast.parse(BACKENDS[name].runner.read_text())
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module.partition(".")[0] for module in modules} - sys.stdlib_module_names <= {"pandas"}


# Comparison.

BACKEND = BACKENDS["lmms-eval"]
QUESTION = {"options": ["hawk", "mouse"], "answer": "1"}


def compared(case_id, ours, theirs, replies=None, crash=None):
    case = Case("ai2d", case_id, QUESTION, "B", replies or {})
    return Compared(case, Verdict("B", ours), Outcome(case.input_hash, theirs, crash))


@pytest.mark.parametrize(
    ("one", "comparable", "differs"),
    [
        (compared("1", 1.0, 1.0), True, False),
        (compared("1", 1.0, 0.0), True, True),
        (compared("1", 1.0, None, crash="TypeError"), True, True),
        (compared("1", None, 0.0), False, False),  # needs a judge, and nobody says what it would reply
        (compared("1", None, 0.0, {"choice": None}), True, True),  # its call fails: a guess there, no score here
    ],
)
def test_what_differs(one, comparable, differs):
    assert (one.is_comparable, one.differs) == (comparable, differs)


@pytest.mark.parametrize(
    ("known", "cases", "told"),
    [
        ([], [compared("1", 1.0, 1.0)], []),
        ([], [compared("1", 1.0, 0.0)], ["not named"]),
        ([("one", "1")], [compared("1", 1.0, 0.0)], []),
        ([("one", "a*")], [compared("a1", 1.0, 0.0), compared("a2", 0.0, 1.0)], []),
        ([("one", "a*")], [compared("a1", 1.0, 0.0), compared("a2", 1.0, 1.0)], ["no longer a difference"]),
        ([("one", "1"), ("two", "1")], [compared("1", 1.0, 0.0)], ["named twice: one, two"]),
        ([("one", "2")], [compared("1", 1.0, 1.0)], ["named one, but there is no such case"]),
    ],
)
def test_the_table_of_differences_must_be_exact(known, cases, told, monkeypatch):
    table = tuple(Difference(BACKEND.name, "ai2d", name, "why", (pattern,)) for name, pattern in known)
    monkeypatch.setattr(comparison, "DIFFERENCES", table)
    found = comparison.problems(BACKEND, cases, [])
    assert len(found) == len(told)
    assert all(part in problem for part, problem in zip(told, found, strict=True))


@pytest.mark.parametrize(("theirs", "num_problems"), [(50.0, 0), (50.004, 0), (50.02, 1), (float("nan"), 1)])
def test_group_metrics_may_differ_by_rounding_only(theirs, num_problems):
    metric = ComparedMetric("wemath", "strict", 50.0, theirs)
    assert len(comparison.problems(BACKEND, [], [metric])) == num_problems


def test_group_metrics_are_made_of_the_frameworks_hits():
    """Ours are all right, theirs every other one: 1 of 2."""
    cases = [case for case in CASES["lmms-eval"] if case.benchmark == "ocrbench"][:2]
    both_right = [
        Compared(case, Verdict("x", 1.0), Outcome(case.input_hash, float(n), None)) for n, case in enumerate(cases)
    ]
    theirs = Outcomes("x", {}, {}, {"ocrbench": {"final_score": 500.0}})
    (metric,) = comparison.compare_metrics(BACKEND, both_right, theirs)
    assert (metric.ours, metric.differs) == (500.0, False)


def test_an_outcome_of_another_input_is_refused():
    case = Case("ai2d", "1", QUESTION, "B")
    for known in ({}, {("ai2d", "1"): Outcome("another", 1.0, None)}):
        with pytest.raises(ValueError, match=r"ai2d: 1: got .*outcome.*run the cross-check again"):
            comparison.compare(BACKEND, [case], Outcomes("x", {}, known, {}))


# What was recorded.


@both
def test_recorded_differences_are_those_that_are_named(name):
    backend, recorded = BACKENDS[name], read_outcomes(RECORDED[name])
    scored = comparison.compare(backend, CASES[name], recorded)
    metrics = comparison.compare_metrics(backend, scored, recorded)
    assert comparison.problems(backend, scored, metrics) == []
    assert {metric.benchmark for metric in metrics} == {"wemath", "hallusionbench", "ocrbench"}
    assert recorded.of_case.keys() == {(case.benchmark, case.id) for case in CASES[name]}


def test_differences_have_names_and_reasons_of_their_own():
    keys = [(one.backend, one.benchmark, one.name) for one in comparison.DIFFERENCES]
    assert len(set(keys)) == len(keys)
    assert all(len(one.reason) > 30 and one.cases for one in comparison.DIFFERENCES)


def test_the_page_is_current():
    assert crosscheck_page.PAGE.read_text(encoding="utf-8") == crosscheck_page.make()


@both
def test_a_recorded_cross_check_by_the_command(name, capsys, tmp_path):
    words = ["crosscheck", "--backend", name, "--recorded"]
    assert evaluate.main([*words, str(RECORDED[name])]) == 0
    assert evaluate.main([*words, str(RECORDED[name]), "--benchmark", "mmmu"]) == 0
    assert capsys.readouterr().out.count("mmmu ") == 2
    lines = RECORDED[name].read_text(encoding="utf-8").splitlines()
    place = next(n for n, line in enumerate(lines) if '"case": "letter/right"' in line)
    changed = tmp_path / "changed.jsonl"
    changed.write_text(
        "\n".join([*lines[:place], lines[place].replace('"hit": 1.0', '"hit": 0.0'), *lines[place + 1 :]])
    )
    assert evaluate.main([*words, str(changed)]) == 1
    assert "'letter/right': ours 1" in capsys.readouterr().out


def test_settings_keep_the_frameworks_from_going_out():
    assert outcomes._SETTINGS["OPENAI_API_KEY"] == "none"
    assert outcomes._SETTINGS["HF_HUB_OFFLINE"] == "1"
