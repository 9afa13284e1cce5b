"""Parts of a real training are killed, one after the other: each time it ends soon, says why, and resumes.

Every fault begins with the same command, which resumes where the one before has ended. `make test-faults` runs them;
docs/reliability.md has the outcomes.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.conftest import TRAINING
from tests.faults.training import END_S, NUM_STEPS, Ended, Training, kill

pytestmark = [pytest.mark.fault, pytest.mark.xdist_group(TRAINING), pytest.mark.timeout(1800)]
POOL = ("teacher.placement=pool", "teacher.n_gpus=1")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Training:
    return Training(tmp_path_factory.mktemp("pool"), POOL)


@pytest.fixture(scope="module")
def colocated(tmp_path_factory: pytest.TempPathFactory) -> Training:
    return Training(tmp_path_factory.mktemp("colocated"))


def require_one_clear_end(ended: Ended, *named: str) -> None:
    """It failed within END_S, in few lines, which name the part, and nothing of it runs on."""
    assert ended.code not in (0, None), ended.output
    assert ended.seconds < END_S, ended.output
    assert not ended.left, ended.left
    tail = ended.output[-4_000:]
    assert any(name in tail for name in named), tail
    assert "The same command again resumes after global_step_" in tail, tail


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ("TeacherWorker", ("TeacherWorker",)),
        ("ray::WorkerDict", ("WorkerDict",)),
        ("vLLMHttpServer", ("vLLMHttpServer",)),
        ("ViewAgentLoopWorker", ("ViewAgentLoopWorker",)),
        ("raylet/raylet", ("raylet", "node", "Ray")),
    ],
)
def test_a_part_that_dies_ends_the_run(pool: Training, part: str, named: tuple[str, ...]) -> None:
    require_one_clear_end(pool.hurt(kill(part)), *named)


def test_the_colocated_workers(colocated: Training) -> None:
    require_one_clear_end(colocated.hurt(kill("ray::WorkerDict")), "WorkerDict")


def test_the_driver(pool: Training) -> None:
    require_one_clear_end(pool.hurt(kill("verl_vaopd.trainer.main")), "SIGKILL")


def test_the_command_itself(pool: Training) -> None:
    def fault(root: psutil.Process) -> None:
        os.kill(root.pid, signal.SIGKILL)

    ended = pool.hurt(fault)
    assert ended.code == -signal.SIGKILL


def test_in_the_middle_of_a_checkpoint(pool: Training) -> None:
    checkpoints: Path = pool.run / "checkpoints"

    def half_written() -> bool:
        return any(not (step / "COMPLETE").exists() for step in checkpoints.glob("global_step_*"))

    before = {step.name for step in checkpoints.glob("global_step_*") if (step / "COMPLETE").exists()}
    require_one_clear_end(pool.hurt(kill("verl_vaopd.trainer.main"), half_written), "SIGKILL")
    assert before & {step.name for step in checkpoints.glob("global_step_*") if (step / "COMPLETE").exists()}


def test_after_all_that_it_finishes(pool: Training) -> None:
    finished = pool.finish()
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert pool.last_step() == NUM_STEPS
