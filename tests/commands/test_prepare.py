"""`vaopd prepare check`."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from verl_vaopd import cli

ROW = {
    "prompt": [{"role": "user", "content": "What is 6 x 7?"}],
    "data_source": "exact_match",
    "reward_model": {"ground_truth": "42"},
}


def test_the_files_of_a_directory_are_checked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("train", "validation"):
        pq.write_table(pa.Table.from_pylist([ROW] * 3), tmp_path / f"{name}.parquet")
    assert cli.main(["prepare", "check", "--rows", "."]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        "train.parquet       3 rows, 0 images: in order",
        "validation.parquet  3 rows, 0 images: in order",
    ]
    pq.write_table(pa.Table.from_pylist([ROW, {**ROW, "reward_model": None}]), tmp_path / "train.parquet")
    assert cli.main(["prepare", "check", "--rows", str(tmp_path)]) == 2
    assert "train.parquet, row 1, reward_model: no ground truth" in capsys.readouterr().err


def test_a_directory_without_files(tmp_path, capsys):
    assert cli.main(["prepare", "check", "--rows", str(tmp_path)]) == 2
    assert "expected a directory with parquet files such as train.parquet" in capsys.readouterr().err
