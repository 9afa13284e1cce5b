"""Data files: there, or made on demand."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, ListConfig

from verl_vaopd.config.errors import Findings


def check_dataset(cfg: DictConfig, findings: Findings) -> None:
    """Every data file exists, but for tinygeo's own, which are generated; and image sizes make sense."""
    dataset = cfg.dataset
    for key in ("train_files", "val_files"):
        files = cfg.data[key]
        for name in files if isinstance(files, ListConfig) else [files]:
            path = Path(name).expanduser()
            generated = dataset.name == "tinygeo" and path.is_relative_to(Path(dataset.root).expanduser())
            findings.require(
                generated or "://" in name or path.is_file(),
                f"no such data file (data.{key})",
                got=name,
                expected="a parquet file in verl's format",
                fix="point dataset.root at a directory that has it (nothing here converts geo3k or virl39k yet), or "
                "without data: dataset=tinygeo student=tiny teacher=tiny",
            )
    if dataset.min_pixels is not None and dataset.max_pixels is not None:
        findings.require(
            0 < dataset.min_pixels <= dataset.max_pixels,
            "no image size is left",
            got=f"dataset.min_pixels={dataset.min_pixels}, dataset.max_pixels={dataset.max_pixels}",
            expected="0 < min_pixels <= max_pixels",
            fix="dataset.min_pixels=262144 dataset.max_pixels=4194304",
        )
