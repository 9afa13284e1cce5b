from collections.abc import Iterator

import pytest

from tests.parsed_once import parsed_once


@pytest.fixture(scope="package", autouse=True)
def fast_compositions() -> Iterator[None]:
    with parsed_once():
        yield
