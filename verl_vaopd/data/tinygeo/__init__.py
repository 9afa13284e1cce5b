"""tinygeo: a generated geometry world in which every answer hangs on two-digit numbers read off an image.

It exists so that the whole system runs without downloads and without a GPU: `figures` draws, `questions` words,
`dataset` generates splits and parquet files, `build` trains the shipped teacher and student. This face of the package
is what data/generated.py asks for, and imports none of them until it is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from verl_vaopd.data.tinygeo.splits import SPLITS
from verl_vaopd.platform import activate

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["SPLITS", "build_models", "require_writable", "write"]


def write(options: DictConfig, student: str) -> None:
    """See generated.Generated."""
    # transformers imports torchvision, which needs the platform's help on a CPU.
    activate()
    from transformers import AutoTokenizer

    from verl_vaopd.data.tinygeo.dataset import write_dataset

    write_dataset(
        Path(options.root).expanduser(),
        seed=options.seed,
        num_train=options.num_train,
        num_validation=options.num_validation,
        num_test=options.num_test,
        tokenizer=AutoTokenizer.from_pretrained(student),
    )


def require_writable(options: DictConfig) -> None:
    """See generated.Generated."""
    from verl_vaopd.data.tinygeo import dataset

    sizes = dataset.split_sizes(options.num_train, options.num_validation, options.num_test)
    dataset.require_writable(Path(options.root).expanduser(), options.seed, sizes)


def build_models(arguments: Sequence[str]) -> int:
    """See generated.MODEL_BUILDERS."""
    from verl_vaopd.data.tinygeo.build import main

    return main(list(arguments))
