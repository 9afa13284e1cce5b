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
