"""Evaluations of a small benchmark of our own, from a file and against a server, up to their tables."""

from __future__ import annotations

import base64
import csv
import json
import shutil
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.evaluation.chat_server import completion, serve
from verl_vaopd.commands import evaluate
from verl_vaopd.evaluation import scoring
from verl_vaopd.evaluation.benchmark import ImagePart
from verl_vaopd.evaluation.formats.images import ImageFile
from verl_vaopd.evaluation.run import run
from verl_vaopd.evaluation.settings import parse
from verl_vaopd.evaluation.sources import endpoint
from verl_vaopd.evaluation.storage import read_rows

NUM_QUESTIONS = 6


@pytest.fixture
def data(tmp_path):
    """Six sums about two images; the answer to question i is i."""
    directory = tmp_path / "data"
    directory.mkdir()
    for name, colour in (("a.png", "red"), ("b.png", "blue")):
        Image.new("RGB", (8, 8), colour).save(directory / name)
    rows = [
        {"id": f"q{i}", "question": f"<image>What is {i} + 0?", "answer": str(i), "images": ["ab"[i % 2] + ".png"]}
        for i in range(NUM_QUESTIONS)
    ]
    (directory / "custom.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return directory


def answers(right):
    """Rows of responses: sample s of question i is right if right(i, s)."""
    return [
        {"question": f"q{i}", "sample": s, "response": f"So \\boxed{{{i if right(i, s) else 99}}}", "num_tokens": 5 + s}
        for i in range(NUM_QUESTIONS)
        for s in range(2)
    ]


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def words(data, out, *more):
    return ["benchmarks=custom", f"data={data}", f"out={out}", "n=2", *more]


def evaluate_file(tmp_path, data, name, right):
    responses = write_rows(tmp_path / f"{name}.jsonl", answers(right))
    assert evaluate.main(words(data, tmp_path / name, f"responses={responses}")) == 0
    return tmp_path / name


def test_responses_of_a_file_become_a_table(tmp_path, data, capsys):
    """Sample 0 right, sample 1 right for q0 and q1: avg@2 8/12, pass@2 1, of two answers each counts half."""
    out = evaluate_file(tmp_path, data, "model", lambda i, s: s == 0 or i < 2)
    printed = capsys.readouterr().out
    assert "avg@2, protocol rule" in printed and "| model | 66.7 [" in printed
    assert not (out / "speed.jsonl").exists()  # nothing was sampled
    (detail,) = csv.DictReader((out / "details.csv").read_text().splitlines())
    assert float(detail["pass_at_n"]) == 100.0
    assert float(detail["majority_at_n"]) == pytest.approx(100 * (2 + 4 / 2) / 6)
    assert float(detail["mean_length"]) == 5.5
    assert detail["questions"] == "6" and detail["unparsed"] == detail["truncated"] == detail["failed"] == "0.0"
    assert r"66.7 {\scriptsize [" in (out / "table.tex").read_text()
    assert "<td>66.7 [" in (out / "table.html").read_text()


def test_two_runs_are_compared_and_tabled(tmp_path, data, capsys):
    first = evaluate_file(tmp_path, data, "first", lambda i, s: True)
    second = evaluate_file(tmp_path, data, "second", lambda i, s: i % 2 == 0)
    capsys.readouterr()
    assert evaluate.main(["compare", str(first), str(second)]) == 0
    compared = capsys.readouterr().out
    # The clusters are the two images; of the sign patterns ++, +-, -+, -- half are as far.
    assert "| Custom    | 100.0 | 50.0   | +50.0      |" in compared and compared.count("| 2 ") == 1
    assert evaluate.main(["table", str(first), str(second), "--out", str(tmp_path / "tables")]) == 0
    printed = capsys.readouterr().out
    assert "| first  | 100.0 [100.0, 100.0] |" in printed and "| second | 50.0 [0.0, 100.0]" in printed
    assert (tmp_path / "tables" / "table.md").read_text() in printed


def test_runs_with_other_questions_are_in_no_table(tmp_path, data):
    first = evaluate_file(tmp_path, data, "first", lambda i, s: True)
    text = (data / "custom.jsonl").read_text()
    (data / "custom.jsonl").write_text(text.replace("What is 3", "How much is 3"))
    second = evaluate_file(tmp_path, data, "second", lambda i, s: True)
    for command in ("table", "compare"):
        with pytest.raises(ValueError, match="custom: got runs with different questions"):
            evaluate.main([command, str(first), str(second)])


def test_two_protocols_are_in_no_table(tmp_path, data):
    run_dir = evaluate_file(tmp_path, data, "first", lambda i, s: True)
    there = run_dir / "custom"
    scoring.scores_path(there, "official").write_text(scoring.scores_path(there, "rule").read_text())
    with pytest.raises(ValueError, match="protocol: got two"):
        evaluate.main(["table", str(run_dir)])
    assert evaluate.main(["table", str(run_dir), "--protocol", "rule", "--out", str(tmp_path / "t")]) == 0
    with pytest.raises(ValueError, match="expected some"):
        evaluate.main(["table", str(tmp_path)])


def test_missing_and_doubled_responses_are_refused(tmp_path, data):
    rows = answers(lambda i, s: True)
    short = write_rows(tmp_path / "short.jsonl", rows[:-1])
    with pytest.raises(ValueError, match=r"got responses: 2 to each of 5 questions .*, 1 to each of 1 .*'q5'.*n=1"):
        run(parse(words(data, tmp_path / "short", f"responses={short}")))
    double = write_rows(tmp_path / "double.jsonl", [*rows, rows[0]])
    with pytest.raises(ValueError, match="line 13: got question 'q0', sample 0 twice"):
        run(parse(words(data, tmp_path / "double", f"responses={double}")))


def test_n_is_told_where_the_file_says_it(tmp_path, data, capsys):
    responses = write_rows(tmp_path / "two.jsonl", answers(lambda i, s: True))
    assert (
        evaluate.main([word for word in words(data, tmp_path / "out", f"responses={responses}") if word != "n=2"]) == 0
    )
    printed = capsys.readouterr()
    assert "two.jsonl: n=2, 12 responses to 6 questions" in printed.err and "avg@2" in printed.out


def test_a_file_that_has_changed_is_told_as_what_it_is(tmp_path, data):
    responses = write_rows(tmp_path / "made.jsonl", answers(lambda i, s: True))
    command = words(data, tmp_path / "out", f"responses={responses}")
    evaluate.main(command)
    text = (data / "custom.jsonl").read_text()
    (data / "custom.jsonl").write_text(text.replace("What is 3", "How much is 3"))
    with pytest.raises(ValueError, match=r"custom\.jsonl: got as many questions .* but with other ids, texts.*out="):
        evaluate.main(command)
    (data / "custom.jsonl").write_text(text)
    write_rows(responses, answers(lambda i, s: False))
    with pytest.raises(
        ValueError, match=r"got .*made\.jsonl, but .*responses\.jsonl holds other ones \(the file has chang"
    ):
        evaluate.main(command)
    shutil.rmtree(tmp_path / "out" / "custom")  # as it says
    assert evaluate.main(command) == 0


def test_a_run_that_was_killed_before_its_first_row_goes_on(tmp_path, data):
    (tmp_path / "model" / "custom").mkdir(parents=True)
    (tmp_path / "model" / "custom" / "responses.jsonl").write_text('{"identity": {"bench')
    evaluate_file(tmp_path, data, "model", lambda i, s: True)


def test_responses_are_scored_without_their_images(tmp_path, data):
    """The same score, and a new file of images changes nothing but which table it may stand in."""
    first = evaluate_file(tmp_path, data, "first", lambda i, s: s == 0)
    (data / "a.png").unlink()
    second = evaluate_file(tmp_path, data, "second", lambda i, s: s == 0)
    scores = [(run_dir / "custom" / "scores-rule.jsonl").read_text().splitlines()[1:] for run_dir in (first, second)]
    assert scores[0] == scores[1]


def solve(asked, number):
    """Answers rightly what it is asked."""
    text = asked["messages"][0]["content"][-1]["text"]
    return 200, completion(f"\\boxed{{{text.split()[2]}}}", "stop" if asked["seed"] % 2 else "length")


def test_a_server_is_asked_every_sample_with_its_seed_and_image(tmp_path, data):
    with serve(solve) as (url, log):
        source = [f"endpoint={url}", "model=m", "concurrency=3", "temperature=0.5", "max_tokens=64"]
        out, num_failed = run(parse(words(data, tmp_path / "out", *source)))
        assert num_failed == 0 and len(log.asked) == 12 and log.most_running <= 3
        run(parse(words(data, tmp_path / "out", *source)))
        assert len(log.asked) == 12  # nothing is missing
        run(parse(words(data, tmp_path / "out", *source, "n=3")))
        assert len(log.asked) == 18  # one sample more of each
    rows = {(row["question"], row["sample"]): row for row in read_rows(out / "custom" / "responses.jsonl")}
    assert len(rows) == 18
    assert {row["seed"] for row in rows.values()} == {asked["seed"] for asked in log.asked}
    asked = next(asked for asked in log.asked if asked["seed"] == rows["q3", 1]["seed"])
    assert {key: asked[key] for key in ("model", "temperature", "top_p", "max_tokens")} == {
        "model": "m",
        "temperature": 0.5,
        "top_p": 1.0,
        "max_tokens": 64,
    }
    image, text = asked["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is 3 + 0?"}
    kind, _, encoded = image["image_url"]["url"].partition(",")
    assert kind == "data:image/png;base64" and base64.b64decode(encoded) == (data / "b.png").read_bytes()
    assert rows["q3", 1]["response"] == "\\boxed{3}" and rows["q3", 1]["num_tokens"] == 3
    scores = list(read_rows(scoring.scores_path(out / "custom", "rule")))
    assert all(row["hit"] == 1.0 for row in scores)
    assert [row["truncated"] for row in scores] == [
        row["sampling"] and row["finish_reason"] == "length" for _, row in sorted(rows.items())
    ]


def test_speed_is_told_and_kept(tmp_path, data, capsys):
    """Twelve responses of three tokens; the second process finds all of them."""
    with serve(solve) as (url, _):
        source = [f"endpoint={url}", "model=m", "concurrency=3"]
        for _ in range(2):
            out, _ = run(parse(words(data, tmp_path / "out", *source)))
    (line,) = (out / "speed.jsonl").read_text().splitlines()
    row = json.loads(line)
    assert row["num_responses"] == 12 and row["num_tokens"] == 36 and row["gpu_idle_frac"] is None
    assert row["tokens_per_second"] == pytest.approx(36 / row["seconds"])
    assert 0 <= row["engine_idle_frac"] < 1 and 0 < row["engine_full_frac"] <= 1
    assert capsys.readouterr().err.count(f"{row['tokens_per_second']:.0f} tokens/s; engine idle ") == 1


def test_benchmarks_are_asked_in_one_stream(tmp_path, data):
    """The last call about the one and the first about the other are made at a time."""
    rows = {"id": ["g0"], "problem": ["What is 7 + 0?"], "question": ["7 + 0"], "answer": ["7"], "images": [["a.png"]]}
    pq.write_table(pa.table(rows), data / "test.parquet")
    both_there = threading.Barrier(2, timeout=20)

    def solve_together(asked, number):
        if number in (11, 12):  # of 12 about the one, then of 2 about the other
            both_there.wait()
        return 200, completion("\\boxed{7}")

    with serve(solve_together) as (url, log):
        source = [f"endpoint={url}", "model=m", "concurrency=2", f"files.geo3k={data / 'test.parquet'}"]
        out, num_failed = run(parse(["benchmarks=custom,geo3k", *words(data, tmp_path / "out", *source)[1:]]))
    assert num_failed == 0 and len(log.asked) == 14
    found = {name: list(read_rows(out / name / "responses.jsonl")) for name in ("custom", "geo3k")}
    assert len(found["custom"]) == 12 and {row["question"] for row in found["geo3k"]} == {"g0"}
    assert len((out / "speed.jsonl").read_text().splitlines()) == 1


def test_only_the_first_questions_are_asked(tmp_path, data):
    with serve(solve) as (url, log):
        out, _ = run(parse(words(data, tmp_path / "out", f"endpoint={url}", "model=m", "limit=4")))
    assert len(log.asked) == 8
    assert {row["question"] for row in scoring.read_questions(out / "custom")} == {"q0", "q1", "q2", "q3"}


def test_large_images_are_sent_by_few_calls_at_a_time(tmp_path, data, monkeypatch):
    size = len(endpoint.data_url(ImagePart(ImageFile(data / "a.png"))))
    monkeypatch.setattr(endpoint, "_BYTES_PENDING", 2 * size + 1)
    with serve(solve) as (url, log):
        out, _ = run(parse(words(data, tmp_path / "out", f"endpoint={url}", "model=m", "concurrency=8")))
    assert len(log.asked) == 12 and log.most_running <= 2
    assert json.loads((out / "speed.jsonl").read_text())["engine_full_frac"] <= 2 / 8


def test_failed_calls_are_counted_and_made_again(tmp_path, data, capsys):
    def fails_once(asked, number):
        return (400, b"no") if number < 3 else solve(asked, number)

    with serve(fails_once) as (url, log):
        command = words(data, tmp_path / "out", f"endpoint={url}", "model=m", "concurrency=1")
        assert evaluate.main(command) == 1
        assert "3 calls failed; the same command makes them again" in capsys.readouterr().out
        (detail,) = csv.DictReader((tmp_path / "out" / "details.csv").read_text().splitlines())
        assert float(detail["failed"]) == 25.0 and float(detail["score"]) == 100.0  # of those that have an answer
        assert evaluate.main(command) == 0
        assert len(log.asked) == 15
    (detail,) = csv.DictReader((tmp_path / "out" / "details.csv").read_text().splitlines())
    assert float(detail["failed"]) == 0.0 and float(detail["score"]) == 100.0


def test_another_configuration_is_refused_and_named(tmp_path, data):
    with serve(solve) as (url, _):
        source = [f"endpoint={url}", "model=m"]
        run(parse(words(data, tmp_path / "out", *source)))
        with pytest.raises(ValueError, match="seed: 0 there, 1 now"):
            run(parse(words(data, tmp_path / "out", *source, "seed=1")))
        with pytest.raises(ValueError, match="num_questions: 6 there, 4 now"):
            run(parse(words(data, tmp_path / "out", *source, "limit=4")))
    questions = (tmp_path / "out" / "custom" / "questions.jsonl").read_text()
    assert len(questions.splitlines()) == NUM_QUESTIONS  # the refused run has not touched them
    assert sorted(path.name for path in (tmp_path / "out" / "custom").iterdir()) == [
        "files.json",
        "questions.jsonl",
        "responses.jsonl",
        "scores-rule.jsonl",
    ]


def test_two_questions_of_one_id_are_refused(tmp_path, data):
    text = (data / "custom.jsonl").read_text()
    (data / "custom.jsonl").write_text(text.replace("q4", "q3"))
    with pytest.raises(ValueError, match="two questions with id 'q3'"):
        evaluate_file(tmp_path, data, "model", lambda i, s: True)
