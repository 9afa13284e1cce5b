"""Data sets that code makes, by their name in the configuration: the registry.

A generated data set is a module or package with the names of `Generated`. Importing this module imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from verl_vaopd.data import tinygeo

if TYPE_CHECKING:
    from omegaconf import DictConfig


class Generated(Protocol):
    """What such a module offers."""

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

    def require_writable(self, options: DictConfig) -> None:
        """Raise ValueError if `write` would refuse the directory, because it holds something else."""


GENERATED: dict[str, Generated] = {
    "tinygeo": tinygeo,
}
MODEL_BUILDERS: dict[str, Callable[[Sequence[str]], int]] = {"tinygeo": tinygeo.build_models}
"""`vaopd NAME build`: makes the models that are shipped for a data set; returns the exit code."""
EMBEDDED = next(iter(MODEL_BUILDERS))
"""The data set whose models are shipped: with it, everything runs without a download."""


def generate(cfg: DictConfig) -> None:
    """Write the configuration's data set if code makes it. Others must be there: the launcher has checked."""
    if cfg.dataset.name in GENERATED:
        GENERATED[cfg.dataset.name].write(cfg.dataset, cfg.student.path)
