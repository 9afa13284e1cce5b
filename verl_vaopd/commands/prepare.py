"""`vaopd prepare`: data sets as training reads them."""

from __future__ import annotations

from pathlib import Path

from verl_vaopd.commands.program import short
from verl_vaopd.config.data_schema import DatasetConfig
from verl_vaopd.data.checking import check_files


def check(directory: Path) -> None:
    """`vaopd prepare check`: every row of every parquet file in a directory; prints what is there.

    Raises:
        ValueError: no such file, or rows that cannot be used, the first of them listed.
    """
    files = sorted(directory.expanduser().glob("*.parquet"))
    if not files:
        raise ValueError(f"--rows: got {directory}, expected a directory with parquet files such as train.parquet")
    checked = check_files(files, DatasetConfig.prompt_suffix)
    checked.raise_if_bad()
    width = max(len(short(file)) for file in files)
    for file, num_rows in checked.num_rows.items():
        print(f"{short(file):{width}}  {num_rows} rows, {checked.num_images[file]} images: in order")
    print("How many tokens a prompt has depends on the student: `vaopd train` checks that before it starts.")
