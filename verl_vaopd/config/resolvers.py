"""Interpolations of our own, for the few values that OmegaConf's cannot express."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from verl_vaopd.config.objective import weighting_from
from verl_vaopd.config.paths import ASSETS_DIR


def requested_gpus(cfg: DictConfig) -> int:
    """GPUs of the whole job: the student's, and the teacher's if it has a pool of its own."""
    pool = cfg.teacher.n_gpus * cfg.teacher.nnodes if cfg.teacher.placement == "pool" else 0
    return cfg.trainer.n_gpus_per_node * cfg.trainer.nnodes + pool


def needs_visual_advantage(cfg: DictConfig) -> bool:
    """Whether token weights are made from visual advantage, and weigh something."""
    return cfg.loss.divergence is not None and weighting_from(cfg).needs_visual_advantage


def left_out_file(cfg: DictConfig) -> str | None:
    """Which rows a run leaves out, by file; null where none may be left out, or there is no run yet."""
    if cfg.dataset.overlong != "drop" or OmegaConf.is_missing(cfg.run, "dir"):
        return None
    return str(Path(cfg.run.dir) / "left_out_rows.json")


def register_resolvers() -> None:
    """Make them known to OmegaConf.

    - `${vaopd_asset:DATASET/student}`: absolute path of a file or directory shipped with the package.
    - `${vaopd_basename:/a/b}`: the last part of a path.
    - `${vaopd_sum:1,2}`, `${vaopd_product:1,2}`: the sum, the product.
    - `${vaopd_needs_visual_advantage:}`: see needs_visual_advantage.
    - `${vaopd_left_out:}`: see left_out_file.
    - `${vaopd_requested_gpus:}`: see requested_gpus.
    - `${vaopd_split_files:ROOT,SPLITS}`: ROOT/SPLIT.parquet of every split of a list.
    - `${vaopd_trackers:file,tensorboard}`: these trackers of verl's, and wandb if the switch `wandb` is on.
    """
    resolvers: dict[str, Callable[..., Any]] = {
        "vaopd_asset": lambda name: str(ASSETS_DIR / name),
        "vaopd_basename": lambda path: Path(path).name,
        "vaopd_sum": lambda *numbers: sum(numbers),
        "vaopd_product": lambda *numbers: math.prod(numbers),
        "vaopd_split_files": lambda root, splits: OmegaConf.create([f"{root}/{split}.parquet" for split in splits]),
        "vaopd_needs_visual_advantage": lambda *, _root_: needs_visual_advantage(_root_),
        "vaopd_left_out": lambda *, _root_: left_out_file(_root_),
        "vaopd_requested_gpus": lambda *, _root_: requested_gpus(_root_),
        "vaopd_trackers": lambda *names, _root_: OmegaConf.create([*names, *(["wandb"] if _root_.wandb else [])]),
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)
