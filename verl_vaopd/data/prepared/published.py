"""What a published data set offers to its preparation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Protocol

import pyarrow as pa

from verl_vaopd.data.prepared.candidate import Candidate


class Published(Protocol):
    """A data set as its authors publish it, in a directory; made with one, raises ValueError if it is none."""

    data_source: ClassVar[str]
    """The rule of its answers (data/scoring.py)."""
    hub_id: ClassVar[str]
    patterns: ClassVar[tuple[str, ...]]
    """Files of the hub that are needed."""
    licence: ClassVar[str]
    published: ClassVar[Mapping[str, int]]
    """{split: its problems}."""
    extra: ClassVar[Mapping[str, pa.DataType]]
    """Columns of extra_info beside the index."""

    def __init__(self, root: Path) -> None: ...

    def files(self, split: str) -> list[Path]:
        """All that is read for a split."""

    def num_rows(self, split: str) -> int:
        """Problems of a split that are there."""

    def candidates(self, split: str) -> Iterator[Candidate]:
        """They themselves, in the order of the source. Raises ValueError for a file that is damaged."""
