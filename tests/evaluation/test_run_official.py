"""The official protocol of HallusionBench, whose every response is judged."""

from __future__ import annotations

import base64
import csv
import io
import json

import pytest
from PIL import Image

from tests.evaluation.chat_server import completion, serve
from verl_vaopd.commands import evaluate
from verl_vaopd.evaluation.settings import parse

ROWS = [(f"VD_chart_0_1_{i}", f"Is it {i}?", "Yes") for i in range(4)]


@pytest.fixture
def words(tmp_path):
    image = io.BytesIO()
    Image.effect_noise((32, 32), 50).save(image, "PNG")
    encoded = base64.b64encode(image.getvalue()).decode()
    lines = ["index\timage\tquestion\tanswer\tcategory\tl2-category"]
    lines += [f"{index}\t{encoded}\t{question}\t{answer}\tVD\tchart" for index, question, answer in ROWS]
    (tmp_path / "HallusionBench.tsv").write_text("\n".join(lines) + "\n")
    responses = [{"question": index, "response": f"I say {i % 2}"} for i, (index, _, _) in enumerate(ROWS)]
    (tmp_path / "made.jsonl").write_text("".join(json.dumps(row) + "\n" for row in responses))
    return [
        "benchmarks=hallusionbench",
        f"responses={tmp_path / 'made.jsonl'}",
        f"data={tmp_path}",
        f"out={tmp_path / 'out'}",
        "n=1",
        "protocol=official",
    ]


def detail_in(out):
    (detail,) = csv.DictReader((out / "details.csv").read_text().splitlines())
    return detail


def judge_words(url):
    return ["judge.model=j", f"judge.endpoint={url}", "judge.attempts=1", "judge.concurrency=2"]


def test_verdicts_are_the_judges_and_failed_calls_are_asked_again(tmp_path, words, capsys):
    def judges(asked, number):
        prompt = asked["messages"][0]["content"]
        if number == 0:
            return 500, {}
        return 200, completion("correct" if "I say 1" in prompt else "incorrect")

    with serve(judges) as (url, log):
        assert evaluate.main([*words, *judge_words(url)]) == 0
        assert log.most_running <= 2 and len(log.asked) == 4
        assert detail_in(tmp_path / "out")["judge_failed"] == "25.0"
        assert "1 failed" in capsys.readouterr().err
        assert evaluate.main([*words, *judge_words(url)]) == 0
        assert len(log.asked) == 5  # the others were known
    detail = detail_in(tmp_path / "out")
    assert detail["judge_failed"] == "0.0" and float(detail["aAcc"]) == 50.0
    assert "3 replies known already" in capsys.readouterr().err


def test_without_a_judge_nothing_is_scored(tmp_path, words):
    assert evaluate.main(words) == 0
    detail = detail_in(tmp_path / "out")
    assert detail["judge_failed"] == "100.0" and detail["score"] == detail["pass_at_n"] == detail["majority_at_n"] == ""


def test_a_judge_is_for_the_official_protocol(words):
    with pytest.raises(ValueError, match=r"judge\.model: got one for protocol=rule"):
        evaluate.main([*words, *judge_words("http://localhost:1/v1"), "protocol=rule"])
    with pytest.raises(ValueError, match=r"judge\.endpoint: got 'localhost'"):
        evaluate.main([*words, "judge.model=j", "judge.endpoint=localhost"])
    assert parse(words).judge.model is None


SWITCHED = {
    "mmmu": ("MMMU_DEV_VAL", ["id", "A", "B", "answer", "split"], [["v1", "x", "y", "A", "validation"]]),
    "hallusionbench": (
        "HallusionBench",
        ["answer", "category", "l2-category"],
        [["Yes", "VD", "ocr"], ["Yes", "VS", "ocr"]],
    ),
}


def write_switched(tmp_path, name, response):
    """One question of MMMU; two of HallusionBench, whose names differ in the category alone."""
    table, columns, rows = SWITCHED[name]
    image = io.BytesIO()
    Image.effect_noise((32, 32), 50).save(image, "PNG")
    encoded = base64.b64encode(image.getvalue()).decode()
    lines = ["\t".join(["index", "image", "question", *columns])]
    indices = [f"a_{row[1]}_ocr_0_1_0" if name == "hallusionbench" else "1" for row in rows]
    lines += ["\t".join([index, encoded, "Which?", *row]) for index, row in zip(indices, rows, strict=True)]
    (tmp_path / f"{table}.tsv").write_text("\n".join(lines) + "\n")
    ids = ["VD_ocr_0_1_0", "VS_ocr_0_1_0"] if name == "hallusionbench" else ["v1"]
    made = [{"question": i, "sample": s, "response": response(i, s)} for i in ids for s in range(8)]
    (tmp_path / "made.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    return [f"benchmarks={name}", f"responses={tmp_path / 'made.jsonl'}", f"data={tmp_path}", f"out={tmp_path / 'out'}"]


def test_the_random_fallback_is_a_switch_seeded_and_told(tmp_path):
    """A new scoring of the same responses; the eight samples of a question draw for themselves."""
    words = [*write_switched(tmp_path, "mmmu", lambda i, s: "?"), "protocol=official"]
    assert evaluate.main(words) == 0
    assert detail_in(tmp_path / "out")["unparsed"] == "100.0"
    found = []
    for _ in range(2):
        assert evaluate.main([*words, "random_fallback=true"]) == 0
        found.append((tmp_path / "out" / "mmmu" / "scores-official.jsonl").read_text())
        assert detail_in(tmp_path / "out")["unparsed"] == "0.0"
    assert found[0] == found[1]
    assert '"switches": {"random_fallback": true}' in found[0]
    assert 0.0 < float(detail_in(tmp_path / "out")["score"]) < 100.0
    assert "random_fallback True" in (tmp_path / "out" / "table.md").read_text()


def test_the_grouping_of_hallusionbench_is_a_switch(tmp_path):
    """One of two questions right: with the category in their names half of them are, without it none."""
    words = write_switched(tmp_path, "hallusionbench", lambda i, s: "Yes" if i.startswith("VD") else "No")
    expected = {"official": 50.0, "vlmevalkit": 0.0}
    for grouping, share in expected.items():
        assert evaluate.main([*words, f"grouping={grouping}"]) == 0
        detail = detail_in(tmp_path / "out")
        assert [float(detail[name]) for name in ("aAcc", "fAcc", "qAcc")] == [50.0, share, share]
        line = f"- out, HalluB: aAcc 50.0, fAcc {share}, qAcc {share}\n"
        assert line in (tmp_path / "out" / "table.md").read_text()
        assert float(detail["score"]) == pytest.approx((50.0 + 2 * share) / 3)


def test_runs_with_other_switches_are_in_no_table(tmp_path):
    words = write_switched(tmp_path, "hallusionbench", lambda i, s: "Yes")
    for name, grouping in (("a", "official"), ("b", "vlmevalkit")):
        assert evaluate.main([*words, f"grouping={grouping}", f"out={tmp_path / name}"]) == 0
    with pytest.raises(ValueError, match="hallusionbench: got runs with different switches"):
        evaluate.main(["table", str(tmp_path / "a"), str(tmp_path / "b")])
