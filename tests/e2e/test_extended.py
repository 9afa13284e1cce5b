"""What docs/extending.md adds trains: a weighting, a divergence, a corruption and a generated data set, in one run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TRAINING
from tests.extended import extended_copy
from verl_vaopd.runs import events
from verl_vaopd.runs.token_dump import read_dumps

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group(TRAINING), pytest.mark.timeout(900)]


def test_everything_that_the_page_adds_trains(tmp_path: Path) -> None:
    copy = extended_copy(tmp_path / "copy")
    overrides = [
        "hardware=cpu",
        "student=tiny",
        "teacher=tiny",
        "method=opd_recency",
        "dataset=dots",
        "loss.divergence=brier",
        "view.kind=mirror",
        "data.train_batch_size=4",
        "actor_rollout_ref.rollout.n=2",
        "trainer.total_training_steps=2",
        "validation.every=2",
        "validation.before_train=false",
        "validation.n=1",
        "validation.num_questions=4",
        "dump.every=1",
        "run.name=extended",
        # The student has never seen these figures, and its answers may not end.
        "preflight.waive=[responses_end]",
    ]
    # Ray's workers take the package from here too.
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    command = [sys.executable, "-m", "verl_vaopd.cli", "train", *overrides]
    finished = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=800)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    run = copy / "runs" / "extended"
    losses = [event["metrics"]["vaopd/loss"] for event in events.steps(run / events.FILE_NAME)]
    assert len(losses) == 2 and all(0 < loss < 1 for loss in losses)
    (validation,) = events.validations(run / events.FILE_NAME)
    assert validation["n_questions"] == 4
    for row in read_dumps(run, "train").to_pylist():
        weights = row["token_weights"]
        # In proportion to a token's place; 4 prompts of 2 rollouts.
        assert weights == pytest.approx([weights[0] * place for place in range(1, len(weights) + 1)], rel=1e-5)
        assert sum(weights) == pytest.approx(1 / 8, rel=1e-5)
