"""Data files: there, with the columns that training reads and enough rows, or made on demand. Rows themselves are
checked by rollout/row_check.py, which knows the student's tokens."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig

from verl_vaopd.config.errors import Findings, listing
from verl_vaopd.data import stored_settings
from verl_vaopd.data.checking import require_columns
from verl_vaopd.data.files import held_out_files, is_made_here, is_to_be_prepared, train_files
from verl_vaopd.data.generated import EMBEDDED
from verl_vaopd.data.prepared import PREPARED
from verl_vaopd.data.prepared.manifest import is_as_prepared
from verl_vaopd.data.rows import RowError
from verl_vaopd.files import MANIFEST

B = "data.train_batch_size"


def check_dataset(cfg: DictConfig, findings: Findings) -> None:
    """Every data file is there with columns and rows, but for those that are made; and image sizes make sense."""
    dataset = cfg.dataset
    training = [_num_rows(cfg, "data.train_files", file, findings) for file in train_files(cfg)]
    if None not in training:
        _check_steps(cfg, sum(rows for rows in training if rows is not None), findings)
    splits = [file.stem for file in held_out_files(cfg)]
    findings.require(
        splits == list(cfg.validation.splits),
        "held-out files are named after their splits",
        got=f"data.val_files={listing(cfg.data.val_files)} for validation.splits={listing(cfg.validation.splits)}",
        expected="SPLIT.parquet for every split, in their order",
        fix=f"leave data.val_files alone, or validation.splits=[{','.join(splits)}]",
    )
    for file in held_out_files(cfg):
        rows = _num_rows(cfg, "data.val_files", file, findings)
        if rows is not None:
            findings.require(
                cfg.validation.num_questions <= rows,
                "a held-out file has too few rows",
                got=f"{rows} rows in {file}",
                expected=f"at least validation.num_questions={cfg.validation.num_questions}",
                fix=f"validation.num_questions={rows}",
            )
    for got, expected, fix in stored_settings.problems(cfg) if cfg.method.stored_responses else ():
        what = "stored responses are to all prompts of one file"
        findings.require(False, what, got=f"{got} with method={cfg.method.name}", expected=expected, fix=fix)
    if dataset.min_pixels is not None and dataset.max_pixels is not None:
        findings.require(
            0 < dataset.min_pixels <= dataset.max_pixels,
            "no image size is left",
            got=f"dataset.min_pixels={dataset.min_pixels}, dataset.max_pixels={dataset.max_pixels}",
            expected="0 < min_pixels <= max_pixels",
            fix="dataset.min_pixels=262144 dataset.max_pixels=4194304",
        )


def require_enough_rows(cfg: DictConfig, left_out: Mapping[Path, Sequence[int]]) -> None:
    """The same of what is left of the data files.

    Args:
        left_out: {file: its rows that the run leaves out}.
    Raises:
        ConfigError: fewer rows than a batch, fewer batches than steps, or a held-out file of which nothing is left.
    """
    if not left_out:
        return
    findings = Findings()
    rows = {file: require_columns(file) - len(left_out.get(file, ())) for file in (*train_files(cfg), *left_out)}
    _check_steps(cfg, sum(rows[file] for file in train_files(cfg)), findings)
    for file in left_out:
        findings.require(
            rows[file] > 0,
            "a data file has no prompt that is short enough",
            got=f"{len(left_out[file])} rows of {file}",
            expected=f"prompts of at most data.max_prompt_length={cfg.data.max_prompt_length} tokens",
            fix="raise data.max_prompt_length, or lower dataset.max_pixels",
        )
    findings.raise_if_any()


def _num_rows(cfg: DictConfig, key: str, file: Path, findings: Findings) -> int | None:
    """Rows of a file that can be used; None for one that cannot, or is made here."""
    if is_made_here(cfg, file) or is_to_be_prepared(cfg, file):
        return None
    name = cfg.dataset.name
    prepare = f"vaopd prepare {name} --out {shlex.quote(cfg.dataset.root)}, or " if name in PREPARED else ""
    there = findings.require(
        file.is_file(),
        f"no such data file ({key})",
        got=file,
        expected="a parquet file on this machine, or on a disk that all machines share",
        fix=f"{prepare}point dataset.root at a directory that has it, or without data: dataset={EMBEDDED} student=tiny "
        "teacher=tiny",
    )
    if not there or not _require_as_prepared(file, findings):
        return None
    try:
        return require_columns(file)
    except RowError as error:
        findings.require(
            False,
            f"a data file {error.what} ({key})",
            got=f"{file}: {error.got}",
            expected=error.expected,
            fix=error.fix,
        )
        return None


def _require_as_prepared(file: Path, findings: Findings) -> bool:
    return findings.require(
        is_as_prepared(file),
        "a prepared data file was changed",
        got=f"{file}, whose SHA-256 is not the one in {MANIFEST} beside it",
        expected="the file as `vaopd prepare` wrote it",
        fix=f"prepare it again into another directory; or, to use the change, remove {file.parent / MANIFEST}",
    )


def _check_steps(cfg: DictConfig, num_rows: int, findings: Findings) -> None:
    """There is a whole batch, and the data last until the last step."""
    limit = cfg.data.train_max_samples
    num_rows = min(num_rows, limit) if limit > 0 else num_rows
    prompts, epochs, steps = cfg.data.train_batch_size, cfg.trainer.total_epochs, cfg.trainer.total_training_steps
    if prompts < 1 or epochs < 1:
        return  # told elsewhere
    whole = findings.require(
        num_rows >= prompts,
        "fewer rows than a batch",
        got=f"{num_rows} rows in data.train_files, {B}={prompts}",
        expected=f"at least {prompts} rows",
        fix=f"{B}={num_rows}, or more data",
    )
    if whole and isinstance(steps, int):
        per_epoch = num_rows // prompts
        findings.require(
            steps <= per_epoch * epochs,
            "the data end before the last step",
            got=f"trainer.total_training_steps={steps} with {num_rows} rows, {B}={prompts}, "
            f"trainer.total_epochs={epochs}",
            expected=f"at most {per_epoch * epochs} steps (rows // batch x epochs)",
            fix=f"trainer.total_epochs={-(-steps // per_epoch)}, or fewer steps",
        )
