"""The data files of a job, and what stands for their content."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import DictConfig

from verl_vaopd.data.generated import GENERATED
from verl_vaopd.data.prepared import PREPARED
from verl_vaopd.files import sha256_of

DATASETS = "datasets"
"""Directory of all data sets whose place nobody has chosen."""


def train_files(cfg: DictConfig) -> list[Path]:
    """`data.train_files`"""
    return _paths(cfg.data.train_files)


def held_out_files(cfg: DictConfig) -> list[Path]:
    """`data.val_files`: one for each split of `validation.splits`, in their order."""
    return _paths(cfg.data.val_files)


def is_made_here(cfg: DictConfig, file: Path) -> bool:
    """Whether code makes this file (data/generated.py) before training starts."""
    return cfg.dataset.name in GENERATED and file.is_relative_to(Path(cfg.dataset.root).expanduser())


def is_to_be_prepared(cfg: DictConfig, file: Path) -> bool:
    """Whether a public data set (data/prepared/) whose place nobody has chosen is not there yet."""
    root = Path(cfg.dataset.root)
    return cfg.dataset.name in PREPARED and root == default_root(cfg.dataset.name) and not root.exists()


def default_root(name: str) -> Path:
    """Where a data set is if dataset.root does not say otherwise."""
    return Path(DATASETS) / name


def contents(cfg: DictConfig) -> dict[str, str]:
    """What stands for the content of every data file that is not made here: {path: content_of}."""
    files = [file for file in (*train_files(cfg), *held_out_files(cfg)) if not is_made_here(cfg, file)]
    return {str(file): content_of(file) for file in files}


def content_of(file: Path) -> str:
    """What stands for the content of a data file: its sha256, or where its rows name image files, one over all."""
    stat = file.stat()
    return _content(file, stat.st_size, stat.st_mtime_ns)


def _paths(files: str | Sequence[str]) -> list[Path]:
    return [Path(name).expanduser() for name in ([files] if isinstance(files, str) else files)]


@functools.cache
def _content(file: Path, size: int, changed: int) -> str:
    """Read once while size and time of change are the same."""
    own = sha256_of(file)
    images = [f"{path} {sha256_of(file.parent / path)}" for path in _image_paths(file)]
    return hashlib.sha256("\n".join([own, *images]).encode()).hexdigest() if images else own


def _image_paths(file: Path) -> Iterator[str]:
    """Image files that the rows of a parquet file name; what is no file there is a mere name beside the bytes."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as opened:
        leaves = [opened.schema.column(place) for place in range(len(opened.schema))]
        # The paths alone: the bytes beside them may be gigabytes.
        columns = [
            leaf.path for leaf in leaves if leaf.path.startswith("images.") and leaf.logical_type.type == "STRING"
        ]
        if not columns:
            return
        for batch in opened.iter_batches(columns=columns):
            for images in batch.column(0).to_pylist():
                paths = [image["path"] if isinstance(image, dict) else image for image in images or []]
                yield from (path for path in paths if path and (file.parent / path).is_file())
