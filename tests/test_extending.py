"""docs/extending.md is followed to the letter in a copy of the package, and what came of it is used there.

tests/e2e/test_extended.py trains with it.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.extended import extended_copy


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return extended_copy(tmp_path_factory.mktemp("extended"))


@pytest.fixture
def python(copy):
    """python(program, *arguments): what a program prints in the copy, whose package it must have imported."""

    def run(program, *arguments, given=""):
        program = f"import verl_vaopd; assert verl_vaopd.__file__.startswith({str(copy)!r})\n{program}"
        command = [sys.executable, "-c", program, *arguments]
        result = subprocess.run(command, cwd=copy, input=given, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


COMPOSED = """
from verl_vaopd.config import ConfigError, compose, validate
from verl_vaopd.config.objective import Objective
def composed(*overrides):
    cfg = compose(["student=tiny", "teacher=tiny", "hardware=cpu", "run.dir=unused", *overrides])
    validate(cfg)
    return cfg
"""


@pytest.mark.cpu_vllm
def test_a_weighting(python):
    printed = python(
        COMPOSED
        + """
import torch
from verl_vaopd.algorithms.weightings import Measured
cfg = composed("method=opd_recency", "dataset=tinygeo", "weighting.power=2")
weighting = Objective.from_config(cfg).weighting
mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
weights = weighting.token_weights(Measured(mask, ["p", "p"]))
print([round(value, 6) for value in weights.flatten().tolist()])
print(composed("method=cot_sft", "weighting=recency", "dataset=tinygeo").weighting.power)
try:
    composed("method=opd_recency", "weighting.power=-1", "dataset=tinygeo")
except ConfigError as error:
    print(error)
"""
    )
    weights, power, error = printed.split("\n", 2)
    # Places to the power of 2 over their sum, half for each of two siblings: 1 4 9 / 14 and 1 4 9 16 / 30.
    expected = [value / 28 for value in (1, 4, 9)] + [0] + [value / 60 for value in (1, 4, 9, 16)]
    assert json.loads(weights) == pytest.approx(expected, abs=1e-6)
    assert float(power) == 1.0
    assert "weighting.power is out of range" in error and "expected: at least 0" in error


@pytest.mark.cpu_vllm
def test_a_divergence_equals_its_formula_and_has_its_gradient(python):
    python(
        COMPOSED
        + """
import torch
from verl_vaopd.algorithms import divergence
from verl_vaopd.algorithms.fused_divergence import fused_divergence
kind = Objective.from_config(composed("dataset=tinygeo", "loss.divergence=brier", "loss.brier_factor=2")).divergence
torch.manual_seed(0)
hidden, head = torch.randn(7, 4, dtype=torch.float64), torch.randn(13, 4, dtype=torch.float64)
teacher = torch.randn(7, 6, dtype=torch.float64), torch.randn(13, 6, dtype=torch.float64)
leaves = [hidden.requires_grad_(), head.requires_grad_()]
def gradients(values):
    return [values, *torch.autograd.grad((values * torch.arange(1, 8)).sum(), leaves)]
fused = gradients(fused_divergence(kind, *leaves, *teacher, chunk_size=3).divergence)
formula = gradients(2 * divergence.brier(leaves[0] @ leaves[1].T, teacher[0] @ teacher[1].T))
for actual, expected in zip(fused, formula, strict=True):
    torch.testing.assert_close(actual, expected)
"""
    )


@pytest.mark.cpu_vllm
def test_a_corruption(python):
    python(
        COMPOSED
        + """
from PIL import Image
from verl_vaopd.images import degrade
assert composed("dataset=tinygeo", "view.kind=mirror", "papo.view.kind=mirror").view.kind == "mirror"
image = Image.frombytes("L", (2, 1), bytes([1, 2]))
assert degrade(image, "mirror").tobytes() == bytes([2, 1])
"""
    )


@pytest.mark.cpu_vllm
def test_a_generated_data_set_and_one_of_files(python, copy):
    python(
        COMPOSED
        + """
import shutil
from verl_vaopd.data.scoring import compute_score
from verl_vaopd.data.generated import generate
import pyarrow.parquet as pq
cfg = composed("dataset=dots", "data.train_batch_size=4", "validation.num_questions=20")
generate(cfg)
rows = pq.read_table("datasets/dots/validation.parquet").to_pylist()
assert len(rows) == 20, "the default follows validation.num_questions"
truth = rows[0]["reward_model"]["ground_truth"]
assert compute_score(rows[0]["data_source"], f"So \\\\boxed{{{truth}}}", truth)["score"] == 1.0
shutil.copytree("datasets/dots", "datasets/mine")
lengths = "data.max_prompt_length=160", "data.max_response_length=64", "validation.num_questions=20"
assert composed("dataset=mine", *lengths).dataset.root == "datasets/mine"
"""
    )


def test_a_benchmark(python, tmp_path):
    rows = [{"question": "What time is it?", "answer": "7", "response": f"\\boxed{{{said}}}"} for said in (7, 8)]
    given = "".join(json.dumps(row) + "\n" for row in rows)
    program = "import sys; from verl_vaopd.cli import main; sys.exit(main(sys.argv[1:]))"
    printed = python(program, "eval", "score", "clockbench", "--protocol", "rule", given=given)
    assert [json.loads(line)["hit"] for line in printed.splitlines()] == [1.0, 0.0]
