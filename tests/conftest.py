"""Skips what this machine cannot run, with the reason."""

import os
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Variables that a test sets, or the code it runs in this process, end with it: verl reads them again later."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs CUDA: torch.cuda.is_available() is False here")
    for item in items:
        # Not `"gpu" in item.keywords`: those hold the names of folders too.
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)
