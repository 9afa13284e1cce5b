"""Which worker runs what, and what this machine cannot run, with the reason."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from verl_vaopd.platform import has_cpu_vllm

# The tests' tensors are too small to be shared out: more threads wait for each other, ten times as long as they work.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Variables that a test sets, or the code it runs in this process, end with it: verl reads them again later."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


REAL_FILES = "VAOPD_REAL_FILES"


@pytest.fixture(scope="session")
def real_files() -> Path:
    """The folder of published questions and responses, one folder per benchmark; skips the test where there is none."""
    if not os.environ.get(REAL_FILES):
        pytest.skip(f"needs published files, which are not part of the repository: {REAL_FILES} names no folder")
    folder = Path(os.environ[REAL_FILES])
    assert folder.is_dir(), f"{REAL_FILES}: got {folder}, expected a folder"
    return folder


CANNOT_RUN_HERE = {
    "gpu": "" if torch.cuda.is_available() else "needs CUDA: torch.cuda.is_available() is False here",
    "cpu_vllm": "" if has_cpu_vllm() else "needs vLLM's CPU build: requirements/cpu.txt is not what is installed here",
}
"""Marker -> why its tests are skipped; empty where they run."""
TRAINING = "training"


def trains(item: pytest.Item) -> bool:
    """Whether it is for the worker that trains."""
    return item.get_closest_marker("xdist_group").args[0] == TRAINING


def pytest_runtest_setup(item: pytest.Item) -> None:
    """On the processors, too, what trains goes before what the other worker does: it is the longest chain."""
    if "PYTEST_XDIST_WORKER" in os.environ and os.nice(0) == 0 and not trains(item):
        os.nice(10)


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make test` has two workers. What trains takes longest, and only one can train on a machine: it comes first, in
    one worker, and there the longest file, of all methods, last: by then the other worker, which slows it down, has
    less to do. All other files, each as a whole, go to whichever has time."""
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    items.sort(key=lambda item: (not trains(item), item.path.name == "test_methods.py"))
    for marker, missing in CANNOT_RUN_HERE.items():
        for item in items:
            # Not `marker in item.keywords`: those hold the names of folders too.
            if missing and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=missing))
