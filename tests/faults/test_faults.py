"""Parts of a real training are killed, one after the other: each time it ends soon, says why, and resumes.

Each fault begins with the same command, which resumes where the one before has ended: about a minute and a half for a
fault. `make test-faults` runs them; docs/reliability.md has the outcomes.
"""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from tests.conftest import TRAINING
from tests.faults.training import END_S, Ended, Training, kill

pytestmark = [pytest.mark.e2e, pytest.mark.fault, pytest.mark.xdist_group(TRAINING), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Training:
    """The teacher has processes of its own."""
    return Training(tmp_path_factory.mktemp("pool"), 30, ("teacher.placement=pool", "teacher.n_gpus=1"))


@pytest.fixture(scope="module")
def colocated(tmp_path_factory: pytest.TempPathFactory) -> Training:
    """Student and teacher share theirs."""
    return Training(tmp_path_factory.mktemp("colocated"), 4)


def require_one_clear_end(training: Training, ended: Ended, *named: str) -> None:
    """It failed within END_S, says which part did, and can go on; nothing of it runs any more."""
    _, _, told = ended.output.partition("Training failed")
    assert ended.code == 1, ended.output
    assert ended.seconds < END_S, told
    assert not ended.left, ended.left
    assert any(name in told for name in named), told
    assert f"The same command again resumes after global_step_{training.checkpoints()[-1]}." in told, told


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ("ray::TeacherWorker", ("TeacherWorker",)),
        ("ray::WorkerDict", ("WorkerDict",)),
        ("ray::vLLMHttpServer", ("vLLMHttpServer",)),
        ("VLLM::EngineCore", ("EngineCore", "EngineDead")),
        ("ray::ViewAgentLoopWorker", ("ViewAgentLoopWorker",)),
        ("ray::SimpleStorageUnit", ("SimpleStorageUnit",)),
        ("raylet/raylet", ("Raylet is terminated",)),
    ],
)
def test_a_part_that_dies_ends_the_run(pool: Training, part: str, named: tuple[str, ...]) -> None:
    require_one_clear_end(pool, pool.hurt(kill(part)), *named)


def test_the_driver(pool: Training) -> None:
    require_one_clear_end(pool, pool.hurt(kill("verl_vaopd.trainer.main")), "SIGKILL")


def test_the_command_itself(pool: Training) -> None:
    """Nobody is left to say anything; all the rest ends."""
    ended = pool.hurt(psutil.Process.kill)
    assert ended.code == -signal.SIGKILL and not ended.left


def test_in_the_middle_of_a_checkpoint(pool: Training) -> None:
    """Its directory is there and it is not marked as complete; the one before counts."""
    checkpoints, before = pool.run / "checkpoints", pool.checkpoints()

    def half_written() -> bool:
        later = [path for path in checkpoints.glob("global_step_*") if int(path.name.split("_")[-1]) > before[-1]]
        return any(any(path.rglob("*.pt")) for path in later) and pool.checkpoints() == before

    require_one_clear_end(pool, pool.hurt(kill("verl_vaopd.trainer.main"), half_written), "SIGKILL")
    assert pool.checkpoints() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system of 4 KiB, which only root may")
def test_a_full_disk_while_tokens_are_dumped(pool: Training) -> None:
    mount = 'mount -t tmpfs -o size=4k none "$0" && exec "$@"'
    full = pool.finish("unshare", "--mount", "sh", "-c", mount, str(pool.run / "tokens"))
    told = (full.stdout + full.stderr)[-4_000:]
    assert full.returncode == 1, told
    assert "the disk is full" in told and f"{pool.run / 'tokens'}" in told, told
    assert f"The same command again resumes after global_step_{pool.checkpoints()[-1]}." in told, told


def test_after_all_that_it_finishes(pool: Training) -> None:
    finished = pool.finish()
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert set(pool.steps()) == set(range(1, pool.num_steps + 1))


def test_a_worker_of_both_models(colocated: Training) -> None:
    require_one_clear_end(colocated, colocated.hurt(kill("ray::WorkerDict")), "WorkerDict")
    finished = colocated.finish()
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert set(colocated.steps()) == set(range(1, colocated.num_steps + 1))
