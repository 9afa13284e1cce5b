"""Data sets that code makes: written where the configuration expects them, if they are not there yet."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from verl_vaopd.platform import activate


def generate(cfg: DictConfig) -> None:
    """Write the configuration's data set if it is tinygeo. Other data sets must be there: the launcher has checked."""
    if cfg.dataset.name != "tinygeo":
        return
    # transformers imports torchvision, which needs the platform's help on a CPU.
    activate()
    from transformers import AutoTokenizer

    from verl_vaopd.data.tinygeo.dataset import write_dataset

    options = cfg.dataset
    write_dataset(
        Path(options.root),
        seed=options.seed,
        num_train=options.num_train,
        num_validation=options.num_validation,
        num_test=options.num_test,
        tokenizer=AutoTokenizer.from_pretrained(cfg.student.path),
    )
