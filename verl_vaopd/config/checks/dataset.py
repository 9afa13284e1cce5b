"""Data files: there and what training reads, or made on demand."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, ListConfig

from verl_vaopd.config.errors import Findings, listing
from verl_vaopd.data.generated import EMBEDDED, GENERATED
from verl_vaopd.data.scoring import SCORERS

COLUMNS = ("prompt", "data_source", "reward_model", "extra_info")
"""What every row must have; `images` only where the prompt has some."""


def check_dataset(cfg: DictConfig, findings: Findings) -> None:
    """Every data file exists, but for those that are generated; and image sizes make sense."""
    dataset = cfg.dataset
    for key in ("train_files", "val_files"):
        files = cfg.data[key]
        for name in files if isinstance(files, ListConfig) else [files]:
            path = Path(name).expanduser()
            made_here = dataset.name in GENERATED and path.is_relative_to(Path(dataset.root).expanduser())
            there = findings.require(
                made_here or "://" in name or path.is_file(),
                f"no such data file (data.{key})",
                got=name,
                expected="a parquet file in verl's format",
                fix="point dataset.root at a directory that has it (nothing here converts geo3k or virl39k yet), or "
                f"without data: dataset={EMBEDDED} student=tiny teacher=tiny",
            )
            if there and not made_here and "://" not in name:
                _check_rows(key, path, findings)
    if dataset.min_pixels is not None and dataset.max_pixels is not None:
        findings.require(
            0 < dataset.min_pixels <= dataset.max_pixels,
            "no image size is left",
            got=f"dataset.min_pixels={dataset.min_pixels}, dataset.max_pixels={dataset.max_pixels}",
            expected="0 < min_pixels <= max_pixels",
            fix="dataset.min_pixels=262144 dataset.max_pixels=4194304",
        )


def _check_rows(key: str, path: Path, findings: Findings) -> None:
    """The file has the columns, and a reward is defined for all its rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns = pq.read_schema(path).names
        missing = [column for column in COLUMNS if column not in columns]
        sources = [] if missing else pq.read_table(path, columns=["data_source"])["data_source"].unique().to_pylist()
        got = f"{path} without {listing(missing)}" if missing else ""
    except (pa.ArrowInvalid, OSError) as error:
        missing, sources, got = list(COLUMNS), [], f"{path}: {error}"
    findings.require(
        not missing,
        f"a data file cannot be used (data.{key})",
        got=got,
        expected=f"parquet in verl's format, with at least {listing(COLUMNS)}",
        fix="docs/user_guide.md shows a row",
    )
    unknown = sorted(str(source) for source in sources if source not in SCORERS)
    findings.require(
        not unknown,
        f"no reward is defined for rows of a data file (data.{key})",
        got=f"data_source {listing(unknown)} in {path}",
        expected=f"one of {listing(sorted(SCORERS))}",
        fix="add a rule to verl_vaopd.data.scoring.SCORERS",
    )
