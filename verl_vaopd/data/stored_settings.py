"""What stored responses depend on: a directory that was made otherwise is neither extended nor trained on.

Imports neither torch nor verl.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from verl_vaopd.data.files import content_of, train_files
from verl_vaopd.provenance import weights_fingerprint

WRITING_SETTINGS = ("run.seed", "teacher.dtype", "collect.prompts_per_part")
"""Settings that only matter to whoever goes on writing: training may read what was collected with other ones."""


def problems(cfg: DictConfig) -> Iterator[tuple[str, str, str]]:
    """(got, expected, fix) of every reason why responses to the training prompts cannot be stored."""
    if (number := len(train_files(cfg))) != 1:
        yield (
            f"data.train_files with {number} files",
            "one file: its rows' indices name the responses, and are unique in it alone",
            f"data.train_files={cfg.dataset.root}/train.parquet",
        )
    if cfg.dataset.overlong != "error":
        yield f"dataset.overlong={cfg.dataset.overlong}", "every row of the training file", "dataset.overlong=error"


def training_file(cfg: DictConfig) -> Path:
    """The file whose prompts are asked. Raises ValueError for the first of `problems`."""
    for got, expected, fix in problems(cfg):
        raise ValueError(f"stored responses: got {got}; expected {expected}; {fix}")
    return train_files(cfg)[0]


def made_with(cfg: DictConfig) -> dict[str, Any]:
    """What stored responses depend on, by configuration key; files by their content, not by their place.

    Reads the training file: it must be there.
    """
    collect = {f"collect.{key}": cfg.collect[key] for key in ("n", "keep", "temperature", "top_p", "prompts_per_part")}
    prompts = {f"dataset.{key}": cfg.dataset[key] for key in ("prompt_suffix", "min_pixels", "max_pixels")}
    return {
        "teacher.path": f"weights {weights_fingerprint(cfg.teacher.path)}",
        "teacher.dtype": cfg.teacher.dtype,
        # The key and the name before the digest are those of collections that were made when there was no other file.
        "dataset.root": f"train.parquet {content_of(training_file(cfg))}",
        "data.max_response_length": cfg.data.max_response_length,
        "run.seed": cfg.run.seed,
        **prompts,
        **collect,
    }


def require_same(directory: Path, stored: Mapping[str, Any], now: Mapping[str, Any], but: Sequence[str] = ()) -> None:
    """Check that stored responses were made with the settings of now (`made_with`), but for the keys in `but`.

    Raises:
        ValueError: naming every setting that differs.
    """
    keys = [key for key in dict.fromkeys([*stored, *now]) if key not in but and stored.get(key) != now.get(key)]
    if keys:
        raise ValueError(
            f"collect.path: got {directory}, whose responses were made with other settings; expected the same ones, "
            "or another directory (collect.path=...), or remove it\n"
            + "\n".join(f"  {key}: {stored.get(key)} there, {now.get(key)} now" for key in keys)
        )
