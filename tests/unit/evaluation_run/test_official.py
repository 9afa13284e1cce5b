"""The official protocol of HallusionBench, whose every response is judged."""

from __future__ import annotations

import base64
import csv
import io
import json

import pytest
from PIL import Image

from tests.unit.evaluation_run.server import completion, serve
from verl_vaopd.evaluation import eval_cli
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
        assert eval_cli.main([*words, *judge_words(url)]) == 0
        assert log.most_running <= 2 and len(log.asked) == 4
        assert detail_in(tmp_path / "out")["judge_failed"] == "25.0"
        assert "1 failed" in capsys.readouterr().err
        assert eval_cli.main([*words, *judge_words(url)]) == 0
        assert len(log.asked) == 5  # the others were known
    detail = detail_in(tmp_path / "out")
    assert detail["judge_failed"] == "0.0" and float(detail["aAcc"]) == 50.0
    assert "3 replies known already" in capsys.readouterr().err


def test_without_a_judge_nothing_is_scored(tmp_path, words):
    assert eval_cli.main(words) == 0
    detail = detail_in(tmp_path / "out")
    assert detail["judge_failed"] == "100.0" and detail["score"] == detail["pass_at_n"] == detail["majority_at_n"] == ""


def test_a_judge_is_for_the_official_protocol(words):
    with pytest.raises(ValueError, match=r"judge\.model: got one for protocol=rule"):
        eval_cli.main([*words, *judge_words("http://localhost:1/v1"), "protocol=rule"])
    with pytest.raises(ValueError, match=r"judge\.endpoint: got 'localhost'"):
        eval_cli.main([*words, "judge.model=j", "judge.endpoint=localhost"])
    assert parse(words).judge.model is None
