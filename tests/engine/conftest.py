"""The engine tests run in a process of their own: verl patches transformers' classes and fixes its platform on import.

`pytest tests/engine` (or a file or test in it) is such a process. In any larger run only test_in_own_process.py is
collected, which starts it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from verl_vaopd.platform import cpu_environment

HERE = Path(__file__).parent
WRAPPER = "test_in_own_process.py"


def in_own_process(config: pytest.Config) -> bool:
    arguments = (config.invocation_params.dir / argument.split("::")[0] for argument in config.args)
    return all(argument.resolve().is_relative_to(HERE) for argument in arguments)


def pytest_configure(config: pytest.Config) -> None:
    if in_own_process(config):
        os.environ.update(cpu_environment())


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    ignored = collection_path.name.startswith("test_") and in_own_process(config) == (collection_path.name == WRAPPER)
    return True if ignored else None


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory with the random models and the prompts."""
    from tests.engine import harness

    directory = tmp_path_factory.mktemp("engine")
    harness.save_models(directory)
    harness.save_prompts(directory)
    return directory


@pytest.fixture(scope="session", autouse=True)
def background(workspace: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, subprocess.Popen]]:
    """The modules that write their results into the workspace: started first, since they take half a minute."""
    wanted = {name for item in request.session.items for name in item.fixturenames}
    processes = {}
    for name in {"oracle", "two_ranks"} & wanted:
        command = [sys.executable, "-m", f"tests.engine.{name}", str(workspace)]
        with (workspace / f"{name}.log").open("w") as log:
            processes[name] = subprocess.Popen(command, cwd=HERE.parents[1], stdout=log, stderr=log)
    yield processes
    for process in processes.values():
        process.kill()
        process.wait()


def run_python(*arguments: str) -> None:
    result = subprocess.run(
        [sys.executable, *arguments], cwd=HERE.parents[1], capture_output=True, text=True, timeout=600
    )
    assert result.returncode == 0, f"{arguments} failed:\n{result.stdout[-5000:]}\n{result.stderr[-10000:]}"


def wait_for(name: str, background: dict[str, subprocess.Popen], workspace: Path) -> dict:
    code = background[name].wait(timeout=600)
    assert code == 0, f"{name} ended with code {code}:\n{(workspace / f'{name}.log').read_text()[-10_000:]}"
    return torch.load(workspace / f"{name}.pt", weights_only=False)


@pytest.fixture(scope="session")
def oracle(background: dict[str, subprocess.Popen], workspace: Path) -> dict:
    """See oracle.main."""
    return wait_for("oracle", background, workspace)


@pytest.fixture(scope="session")
def two_ranks(background: dict[str, subprocess.Popen], workspace: Path) -> dict:
    """Updates by name of two_ranks.CASES."""
    return wait_for("two_ranks", background, workspace)


@pytest.fixture(scope="session")
def process_group(tmp_path_factory: pytest.TempPathFactory):
    from tests.engine import harness

    harness.init_process_group(tmp_path_factory.mktemp("store") / "store")
    yield
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="session")
def batch(workspace: Path) -> list[dict]:
    """The eight rollouts described in harness.py."""
    from tests.engine import harness

    return harness.load_rows(workspace)


@pytest.fixture(scope="session")
def teacher(workspace: Path, process_group: None):
    from tests.engine import harness

    return harness.build_teacher(workspace / "teacher")


@pytest.fixture(scope="session")
def students(workspace: Path, process_group: None) -> dict:
    """The engines of harness.STUDENTS, at learning rate 0."""
    from tests.engine import harness

    return {name: harness.build_student(workspace / name, workspace / "teacher") for name in harness.STUDENTS}
