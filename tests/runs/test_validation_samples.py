"""Files of held-out answers."""

import math

import pytest

from verl_vaopd.runs.validation_samples import SCHEMA, read_samples, sample_steps, write_samples

ROW = {
    "split": "validation",
    "question_id": "7",
    "sample": 1,
    "accuracy": 1.0,
    "mean_va": 0.25,
    "entropy": math.nan,
    "num_tokens": 12,
    "truncated": False,
    "answer": "42",
}


def test_what_was_written_is_read(tmp_path):
    write_samples(tmp_path, 10, [ROW, ROW | {"sample": 2, "accuracy": math.nan, "answer": None}])
    table = read_samples(tmp_path, 10)
    assert table.schema == SCHEMA
    assert table["answer"].to_pylist() == ["42", None]
    assert math.isnan(table["accuracy"].to_pylist()[1])


def test_a_validation_done_again_replaces_the_first(tmp_path):
    write_samples(tmp_path, 0, [ROW, ROW])
    write_samples(tmp_path, 0, [ROW])
    write_samples(tmp_path, 20, [ROW])
    assert read_samples(tmp_path, 0).num_rows == 1
    assert sample_steps(tmp_path) == [0, 20]
    assert sorted(path.name for path in (tmp_path / "validation").iterdir()) == [
        "step_000000.parquet",
        "step_000020.parquet",
    ]


def test_a_step_that_was_not_validated(tmp_path):
    write_samples(tmp_path, 0, [ROW])
    with pytest.raises(ValueError, match=r"no validation of step 5 .* got steps \[0\]"):
        read_samples(tmp_path, 5)
