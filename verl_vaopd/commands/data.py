"""Data that commands need: prepared where they are missing, and checked."""

from __future__ import annotations

import shlex
from pathlib import Path

from omegaconf import DictConfig

from verl_vaopd.commands.program import program, short
from verl_vaopd.config import validate
from verl_vaopd.config.checks.dataset import require_enough_rows
from verl_vaopd.config.data_schema import DatasetConfig
from verl_vaopd.data.checking import check_files
from verl_vaopd.data.files import default_root, is_to_be_prepared, train_files
from verl_vaopd.data.prepared.preparation import Request, prepare
from verl_vaopd.rollout.row_check import left_out_rows, require_rows


def prepare_data_set(request: Request, out: Path) -> None:
    """`vaopd prepare NAME`: a public data set; prints what became of its problems. Raises as preparation.prepare."""
    manifest, is_new = prepare(request, out)
    print(f"{request.name} {'prepared' if is_new else 'is there already'} in {short(out.expanduser().absolute())}")
    for source in manifest["sources"]:
        print(f"  from {source['hub_id']} ({source['kind']} {source['place']}), licence: {source['licence']}")
    for split, counts in manifest["splits"].items():
        not_drawn = f", {counts['not_drawn']} not drawn" if counts["not_drawn"] else ""
        print(f"  {split:10}  {counts['kept']} of {counts['there']} problems{not_drawn}")
        for reason, count in sorted(counts["dropped"].items(), key=lambda item: -item[1]):
            print(f"              dropped {count} x {reason}")
    if manifest["dropped"]:
        print("  what was dropped is listed in manifest.json")
    root = "" if out == default_root(request.name) else f" dataset.root={shlex.quote(str(out))}"
    print(f"next  {program()} train dataset={request.name}{root}")


def require_data(cfg: DictConfig) -> None:
    """The configuration's data are there, or are prepared if they are public ones; and every row can be used.

    Args:
        cfg: composed and validated.
    Raises:
        ValueError: data that cannot be had, or used.
    """
    if any(is_to_be_prepared(cfg, file) for file in train_files(cfg)):
        prepare_data_set(Request(cfg.dataset.name, seed=cfg.dataset.seed), Path(cfg.dataset.root))
        validate(cfg)
    require_rows(cfg)
    left_out = left_out_rows(cfg)
    for file, rows in left_out.items():
        print(f"left out: {len(rows)} rows of {short(file)}, of more than {cfg.data.max_prompt_length} tokens")
    require_enough_rows(cfg, left_out)


def check_rows(directory: Path) -> dict[Path, int]:
    """`vaopd prepare check --rows`: every row of every parquet file in a directory; prints what is there.

    Returns: {file: its rows}.
    Raises:
        ValueError: no such file, or rows that cannot be used, the first of them listed.
    """
    files = sorted(directory.expanduser().glob("*.parquet"))
    if not files:
        raise ValueError(f"check: got {directory}, expected a directory with parquet files such as train.parquet")
    checked = check_files(files, DatasetConfig.prompt_suffix)
    checked.raise_if_bad()
    width = max(len(short(file)) for file in files)
    for file, num_rows in checked.num_rows.items():
        print(f"{short(file):{width}}  {num_rows} rows, {checked.num_images[file]} images: in order")
    print("How many tokens a prompt has depends on the student: `vaopd train` checks that before it starts.")
    return checked.num_rows
