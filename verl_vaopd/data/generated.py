"""Data sets that code makes, by their name in the configuration: the registry.

A generated data set is a package with the four names of `Generated`. Importing this module imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from verl_vaopd.data import tinygeo

if TYPE_CHECKING:
    from omegaconf import DictConfig


class Generated(Protocol):
    """What such a package offers."""

    SPLITS: tuple[str, ...]
    """Names of its parquet files, train first."""

    def write(self, options: DictConfig, student: str) -> None:
        """Write the files into `options.root` unless they are there.

        Args:
            options: `dataset` of the configuration.
            student: path of the model whose tokenizer words the questions.
        Raises:
            ValueError: the directory holds something else.
        """

    def build_models(self, arguments: Sequence[str]) -> int:
        """`vaopd NAME build`: make the models that are shipped with it; returns the exit code."""


GENERATED: dict[str, Generated] = {"tinygeo": tinygeo}
EMBEDDED = "tinygeo"
"""The one whose models are shipped: with it, everything runs without a download."""


def generate(cfg: DictConfig) -> None:
    """Write the configuration's data set if code makes it. Others must be there: the launcher has checked."""
    if cfg.dataset.name in GENERATED:
        GENERATED[cfg.dataset.name].write(cfg.dataset, cfg.student.path)
