import json

import pytest

from verl_vaopd.evaluation.benchmark import Question
from verl_vaopd.evaluation.sources.file import ImportedSource
from verl_vaopd.evaluation.sources.source import Request


def write(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def ask(source, benchmark, question, *samples):
    request = Request(benchmark, Question(question, ("q",), {}, "c"), samples, 0)
    return next(source.responses([request]))


def test_rows_are_found_by_benchmark_question_and_sample(tmp_path):
    rows = [
        {"benchmark": "ai2d", "question": 7, "response": "B", "num_tokens": 3, "finish_reason": "length"},
        "",
        {"benchmark": "ai2d", "question": "7", "sample": 1, "response": None},
        {"benchmark": "mmmu", "question": "7", "response": "C", "seed": 5},
    ]
    source = ImportedSource(write(tmp_path / "made.jsonl", *rows), {"ai2d": ["7"], "mmmu": ["7"]})
    first, second = ask(source, "ai2d", "7", 0, 1)
    assert (first.text, first.num_tokens, first.finish_reason, second.text) == ("B", 3, "length", None)
    (other,) = ask(source, "mmmu", "7", 0)
    assert (other.text, other.seed, other.sample) == ("C", 5, 0)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", r"line 1: got .*one JSON object"),
        ("[5]", r"row 0: got a int, expected a JSON object"),
        ({"question": "7"}, r"line 1: response: got none, expected a text, or null"),
        ({"question": "7", "response": 5}, r"line 1: response: got 5, expected a text, or null"),
        ({"question": "7", "response": "B", "sample": "1"}, r"line 1: sample: got '1', expected a number from 0"),
        ({"question": "7", "response": "B", "sample": -1}, r"line 1: sample: got -1"),
        ({"question": "7", "response": "B", "sample": True}, r"line 1: sample: got True"),
    ],
)
def test_a_bad_row_is_told_with_its_line(tmp_path, row, message):
    with pytest.raises(ValueError, match=message):
        ImportedSource(write(tmp_path / "made.jsonl", row), {"ai2d": ["7"]})


def test_of_several_benchmarks_a_row_says_which(tmp_path):
    path = write(tmp_path / "made.jsonl", {"question": "7", "response": "B"})
    assert ask(ImportedSource(path, {"ai2d": ["7"]}), "ai2d", "7", 0)[0].text == "B"
    with pytest.raises(ValueError, match="line 1: got no `benchmark`, expected one of ai2d, mmmu"):
        ImportedSource(path, {"ai2d": ["7"], "mmmu": ["7"]})
    with pytest.raises(ValueError, match="expected a file that exists"):
        ImportedSource(tmp_path / "none.jsonl", {"ai2d": ["7"]})


IDS = {"ai2d": ["q1", "q2", "q3"]}


def source_of(tmp_path, rows, name="made.jsonl"):
    return ImportedSource(write(tmp_path / name, *rows), IDS)


def each(*counts, **more):
    return [
        {"question": question, "response": f"{question} {sample}", **more}
        for question, count in zip(IDS["ai2d"], counts, strict=True)
        for sample in range(count)
    ]


def test_n_is_that_of_the_file(tmp_path):
    """Without `sample` the responses to a question are numbered as they stand there."""
    source = source_of(tmp_path, [*each(1, 1, 1), *each(1, 1, 1, num_tokens=9)])
    assert source.num_samples(None, None) == 2
    assert [response.num_tokens for response in ask(source, "ai2d", "q2", 0, 1)] == [None, 9]
    assert source.describe(2, None) == f"{tmp_path / 'made.jsonl'}: n=2, 6 responses to 3 questions"
    assert source.num_samples(1, 2) == 1
    assert source.describe(1, 2).endswith("n=1, 2 responses to 2 questions; 4 beyond n= or limit= are left out")


def test_end_tokens_that_an_import_has_left_are_counted(tmp_path):
    rows = [{"question": question, "response": "B</s>" if question == "q1" else "B"} for question in IDS["ai2d"]]
    told = source_of(tmp_path, rows).describe(1, None)
    assert told.endswith("3 responses to 3 questions; 1 end with an end token, which `rule` leaves out")


@pytest.mark.parametrize(
    ("counts", "n", "limit", "message"),
    [
        (
            (2, 1, 2),
            None,
            None,
            r"2 to each of 2 questions .*'q1', 'q3'\), 1 to each of 1 .*'q2'\), expected as many.*n=1",
        ),
        ((2, 0, 2), None, None, r"no to each of 1 questions \(such as 'q2'\).*with null as response .*limit="),
        ((2, 2, 2), 3, None, r"2 to each of 3 questions .*, expected 3 to each; .* with n=2"),
        ((0, 0, 0), None, None, "no to each of 3"),
        ((2, 1, 2), None, 1, None),
        ((2, 1, 2), 1, None, None),
    ],
)
def test_counts_that_differ_are_told(tmp_path, counts, n, limit, message):
    source = source_of(tmp_path, each(*counts))
    if message is None:
        assert source.num_samples(n, limit) == (n or 2)
    else:
        with pytest.raises(ValueError, match=message):
            source.num_samples(n, limit)


def test_samples_are_numbered_from_0(tmp_path):
    source = source_of(tmp_path, [{**row, "sample": number} for number in (1, 2) for row in each(1, 1, 1)])
    with pytest.raises(ValueError, match="question 'q1', sample 0; expected `sample` to be each number from 0 to 1"):
        source.num_samples(None, None)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"question": "q1", "prediction": "B"},
            "response: got none, .*; `prediction` looks like it: rename it to `resp",
        ),
        ({"question": "q1", "question_text": "?", "model_answer": "B"}, "response: .*`model_answer` looks like it"),
        ({"question": "q1", "answer": "A", "answer_pred": "B"}, "response: .*`answer_pred` looks like it"),
        ({"question": "q1", "Output": "B"}, "response: .*`Output` looks like it"),
        ({"question": "q1", "question_text": "?"}, "response: got none, expected a text, or null$"),
        ({"question": "q1", "context": "?", "text": "B"}, "response: got none, .*; `text` looks like it"),
        ({"question": "q1", "if_right": True}, "response: got none, expected a text, or null$"),
        ({"question": "q1", "response": ["A", "B"]}, "response: got a list of 2, .*write a row for each"),
        ({"pid": "q1", "response": "B"}, "question: got none, .*; `pid` looks like it: rename it to `question`"),
        ({"question": None, "index": 7, "response": "B"}, "question: got None, .*; `index` looks like it"),
        (
            {"question": "Q2", "response": "B"},
            "question: got 'Q2', expected the id of a question of ai2d; the closest is 'q2'",
        ),
        (
            {"question": "How long is it?", "id": "q3", "response": "B"},
            "question: .*`id` looks like it: rename it to `question`",
        ),
        ({"question": "q1", "response": "B", "benchmark": "ai3d"}, "benchmark: got 'ai3d', expected one of wemath"),
        ({"question": "q1", "response": "B", "benchmark": ["ai2d"]}, "benchmark: got .'ai2d'., expected one of wemath"),
        ({"question": "q1", "response": "B", "num_tokens": "many"}, "num_tokens: got 'many', expected a number from 0"),
        ({"question": "q1", "response": "B", "finish_reason": 3}, "finish_reason: got 3, expected a text such as stop"),
    ],
)
def test_what_was_probably_meant_is_named(tmp_path, row, message):
    with pytest.raises(ValueError, match=f"made.jsonl: line 1: {message}"):
        source_of(tmp_path, [row])


def test_rows_of_a_benchmark_that_is_not_asked_for_are_counted(tmp_path):
    source = source_of(tmp_path, [*each(1, 1, 1, benchmark="ai2d"), *each(1, 1, 0, benchmark="mmmu")])
    assert "; 2 of mmmu, which is not asked for, are left out" in source.describe(1, None)


ROW = {"question": "How long is it?", "response": ""}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("by id.json", json.dumps({"q1": "B", "q2": "C", "q3": ""}, indent=1)),
        ("by id.jsonl", json.dumps({"q1": "B", "q2": "C", "q3": ""})),
        ("rows by id.json", json.dumps({"q1": ROW | {"response": "B"}, "q2": ROW | {"response": "C"}, "q3": ROW})),
        ("list.json", json.dumps([ROW | {"question": f"q{n}", "response": " BC"[n % 3]} for n in (1, 2, 3)], indent=1)),
        ("table.csv", "question,response,sample,num_tokens,finish_reason\nq1,B,0,7,\nq2,C,0,,stop\nq3,,0,,\n"),
        ("table.tsv", "question\tresponse\nq1\tB\nq2\tC\nq3\t\n"),
    ],
)
def test_responses_in_other_kinds_of_files(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    source = ImportedSource(path, IDS)
    assert source.num_samples(None, None) == 1
    assert [ask(source, "ai2d", question, 0)[0].text for question in ("q1", "q2")] == ["B", "C"]
    assert ask(source, "ai2d", "q3", 0)[0].text.strip() == ""  # and not a sample that failed
