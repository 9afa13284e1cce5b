"""`vaopd collect` for real: vLLM on the CPU samples the tiny teacher, is killed, goes on, and keeps what is right.

The teacher's head has more rows than there are tokens, and would sample these alone.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

import verl_vaopd
from tests.e2e.conftest import overrides_in
from tests.e2e.wide_head import require_only_tokens, widen
from verl_vaopd.config import compose
from verl_vaopd.data.stored import StoredResponses
from verl_vaopd.platform import activate

pytestmark = pytest.mark.e2e

NUM_PROMPTS, NUM_SAMPLES, KEEP, NUM_PARTS = 12, 4, 2, 4
TEACHER = Path(verl_vaopd.__file__).parent / "assets" / "tinygeo" / "teacher"
SCRIPT = """
import sys
from verl_vaopd.config import compose
from verl_vaopd.rollout.collect import collect
collect(compose(sys.argv[1:]))
"""


@dataclass
class Job:
    """One collection: its overrides, its directory and its log."""

    root: Path
    name: str

    @property
    def path(self) -> Path:
        return self.root / self.name

    @property
    def overrides(self) -> list[str]:
        settings = {
            "teacher.path": self.root / "teacher",
            "dataset.num_train": NUM_PROMPTS,
            "collect.path": self.path,
            "collect.n": NUM_SAMPLES,
            "collect.keep": KEEP,
            "collect.prompts_per_part": NUM_PROMPTS // NUM_PARTS,
        }
        return overrides_in(self.root, *(f"{key}={value}" for key, value in settings.items()))

    @property
    def log(self) -> Path:
        return self.root / f"{self.name}.log"

    def start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen([sys.executable, "-c", SCRIPT, *self.overrides], stdout=log, stderr=log)

    def run(self) -> None:
        code = self.start().wait(timeout=600)
        if code != 0:
            pytest.fail(f"{self.name} ended with {code}:\n" + self.log.read_text(errors="replace")[-6000:])

    def parts(self) -> list[Path]:
        return sorted(self.path.glob("part-*.parquet"))

    def table(self) -> pa.Table:
        return pa.concat_tables(pq.read_table(part) for part in self.parts())


@pytest.fixture(scope="module")
def whole(work_dir: Path) -> Job:
    """A collection that nothing interrupted, of a training file of its own."""
    job = Job(work_dir / "collect", "whole")
    job.root.mkdir()
    activate()
    widen(TEACHER, job.root / "teacher")
    job.run()
    return job


def test_a_killed_collection_goes_on_to_the_same_responses(whole: Job) -> None:
    resumed = Job(whole.root, "resumed")
    process = resumed.start()
    while not resumed.parts() and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.wait()
    first = resumed.parts()
    assert 0 < len(first) < NUM_PARTS, resumed.log.read_text(errors="replace")[-6000:]
    written = {part: part.stat().st_mtime_ns for part in first}

    resumed.run()
    assert len(resumed.parts()) == NUM_PARTS
    assert {part: part.stat().st_mtime_ns for part in first} == written  # continued, not done again
    assert resumed.table().equals(whole.table())


def test_kept_responses_are_right(whole: Job) -> None:
    """Checked without the code that kept them: the question's answer, the tokenizer's text and end token."""
    cfg = compose(whole.overrides)
    tokenizer = AutoTokenizer.from_pretrained(cfg.teacher.path)
    questions = pq.read_table(Path(cfg.dataset.root) / "train.parquet").to_pylist()
    rows = whole.table().to_pylist()
    require_only_tokens({token_id for row in rows for ids in row["responses"] for token_id in ids}, TEACHER)
    assert [row["index"] for row in rows] == [str(question["extra_info"]["index"]) for question in questions]
    for row, question in zip(rows, questions, strict=True):
        assert len(row["responses"]) == len(row["texts"]) <= KEEP
        assert len({tuple(response) for response in row["responses"]}) == len(row["responses"])
        for response, text in zip(row["responses"], row["texts"], strict=True):
            assert re.findall(r"\\boxed\{(.*?)\}", text) == [question["reward_model"]["ground_truth"]]
            assert tokenizer.decode(response) == text + tokenizer.eos_token
            assert len(response) <= cfg.data.max_response_length


def test_every_sample_is_accounted_for(whole: Job) -> None:
    summary = StoredResponses(whole.path).summary()
    assert summary["num_prompts"] == NUM_PROMPTS and summary["num_sampled"] == NUM_PROMPTS * NUM_SAMPLES
    # The shipped teacher answers most questions: its acceptance asks for more than this.
    assert summary["num_kept"] > NUM_PROMPTS and summary["pass_rate"] > 0.5
    for row in whole.table().to_pylist():
        assert row["num_sampled"] == NUM_SAMPLES
        assert row["num_correct"] + row["num_malformed"] + row["num_truncated"] <= NUM_SAMPLES
        assert len(row["responses"]) == min(KEEP, row["num_correct"] - row["num_duplicates"])
        assert row["pass_rate"] == row["num_correct"] / NUM_SAMPLES
    assert f"of {NUM_PROMPTS * NUM_SAMPLES} sampled" in whole.log.read_text(errors="replace")
