"""`vaopd eval` for real: vLLM on the CPU answers tinygeo eight times, is killed, goes on, and the table is made.

The model's head has more rows than there are tokens.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

import verl_vaopd
from tests.e2e.wide_head import require_only_tokens, widen
from verl_vaopd.data.tinygeo.dataset import write_dataset
from verl_vaopd.platform import activate

pytestmark = pytest.mark.e2e

NUM_QUESTIONS, NUM_SAMPLES = 12, 8
STUDENT = Path(verl_vaopd.__file__).parent / "assets" / "tinygeo" / "student"
BLOCK = 32  # tokens that the prefix cache knows as one; the default on CPUs is more than a prompt of tinygeo


@dataclass
class Evaluation:
    """One evaluation: its directory and its log."""

    root: Path
    name: str

    @property
    def out(self) -> Path:
        return self.root / self.name

    @property
    def log(self) -> Path:
        return self.root / f"{self.name}.log"

    @property
    def stored(self) -> Path:
        return self.out / "tinygeo" / "responses.jsonl"

    def start(self) -> subprocess.Popen[bytes]:
        words = {
            "model": self.root / "student",
            "benchmarks": "tinygeo",
            "data": self.root / "data",
            "out": self.out,
            "n": NUM_SAMPLES,
            "max_tokens": 256,
            "engine.block_size": BLOCK,
        }
        command = [sys.executable, "-m", "tests.e2e.counted_eval", *(f"{key}={value}" for key, value in words.items())]
        with self.log.open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=Path(__file__).parents[2])

    def run(self) -> None:
        code = self.start().wait(timeout=600)
        if code != 0:
            pytest.fail(f"{self.name} ended with {code}:\n" + self.log.read_text(errors="replace")[-6000:])

    def lines(self) -> list[str]:
        """Whole lines, without the header."""
        if not self.stored.exists():
            return []
        return self.stored.read_bytes().decode().split("\n")[1:-1]

    def rows(self) -> dict[tuple[str, int], dict[str, Any]]:
        rows = [json.loads(line) for line in self.lines()]
        return {(row["question"], row["sample"]): row for row in rows}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """An evaluation that nothing interrupted."""
    activate()
    root = tmp_path_factory.mktemp("eval")
    widen(STUDENT, root / "student")
    tokenizer = AutoTokenizer.from_pretrained(STUDENT)
    write_dataset(
        root / "data" / "tinygeo", seed=0, num_train=1, num_validation=1, num_test=NUM_QUESTIONS, tokenizer=tokenizer
    )
    evaluation = Evaluation(root, "whole")
    evaluation.run()
    return evaluation


def test_a_killed_evaluation_goes_on_to_the_same_responses(whole: Evaluation) -> None:
    resumed = Evaluation(whole.root, "resumed")
    process = resumed.start()
    while not resumed.lines() and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.wait()
    first = resumed.lines()
    assert 0 < len(first) < NUM_QUESTIONS * NUM_SAMPLES, resumed.log.read_text(errors="replace")[-6000:]
    with resumed.stored.open("ab") as file:  # as if it had been killed in the middle of a row
        file.write(first[0][:40].encode())

    resumed.run()
    assert resumed.lines()[: len(first)] == first  # continued, not done again
    assert len(resumed.lines()) == NUM_QUESTIONS * NUM_SAMPLES
    assert resumed.rows() == whole.rows()


def test_an_image_is_processed_once_and_a_prompt_shared_by_its_samples(whole: Evaluation) -> None:
    counts = json.loads((whole.out / "counts.json").read_text())
    assert counts["num_processed"] == NUM_QUESTIONS
    # vLLM tells it of the sample that ended last, which may be the one that the others took the prompt from.
    assert len(counts["cached_tokens"]) == NUM_QUESTIONS
    assert sum(num >= BLOCK for num in counts["cached_tokens"]) > NUM_QUESTIONS / 2


def test_only_tokens_are_sampled(whole: Evaluation) -> None:
    require_only_tokens(json.loads((whole.out / "counts.json").read_text())["sampled"], STUDENT)


def test_speed_is_kept(whole: Evaluation) -> None:
    (line,) = (whole.out / "speed.jsonl").read_text().splitlines()
    speed, rows = json.loads(line), whole.rows().values()
    assert speed["num_responses"] == len(rows) and speed["num_tokens"] == sum(row["num_tokens"] for row in rows)
    assert speed["tokens_per_second"] > 0 and speed["gpu_idle_frac"] is None
    # All 32 places are taken until the first samples of a group have ended.
    assert 0 < speed["engine_idle_frac"] < 0.5 < speed["engine_full_frac"] < 1
    assert "tokens/s; engine idle" in whole.log.read_text(errors="replace")


def test_every_sample_is_stored_with_a_seed_of_its_own(whole: Evaluation) -> None:
    rows = whole.rows()
    assert len(rows) == len(whole.lines()) == NUM_QUESTIONS * NUM_SAMPLES
    assert len({row["seed"] for row in rows.values()}) == len(rows)
    assert {sample for _, sample in rows} == set(range(NUM_SAMPLES))
    for row in rows.values():
        assert row["sampling"] == {"temperature": 1.0, "top_p": 1.0, "max_tokens": 256}
        assert (row["finish_reason"] == "length") == (row["num_tokens"] == 256)
    by_question = {
        question: {row["response"] for key, row in rows.items() if key[0] == question} for question, _ in rows
    }
    assert all(len(responses) > 1 for responses in by_question.values())


def test_the_table_says_what_the_responses_say(whole: Evaluation) -> None:
    """Scored here by looking for the last box, without the code that scores."""
    questions = [json.loads(line) for line in (whole.out / "tinygeo" / "questions.jsonl").read_text().splitlines()]
    golds = {question["question"]: question["fields"]["extra_info"]["answer"] for question in questions}
    boxes = {key: row["response"].rpartition("\\boxed{")[2].partition("}")[0] for key, row in whole.rows().items()}
    hits = [box == golds[question] for (question, _), box in boxes.items()]
    text = (whole.out / "table.md").read_text()
    assert f"{100 * sum(hits) / len(hits):.1f} [" in text
    # The shipped student answers some questions of the test split and not all.
    assert 0 < sum(hits) < len(hits)
    for suffix in ("md", "tex", "html", "csv"):
        assert "TinyGeo" in (whole.out / f"table.{suffix}").read_text()
