"""The check of all rows: what it lists and counts, on files of every kind, in this process and in others."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from verl_vaopd.data.checking import Measure, check_files, stream
from verl_vaopd.data.rows import Row, RowError


def png(size: tuple[int, int] = (4, 3)) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def row(index: object, image: bytes | None = None, truth: object = "42") -> dict:
    return {
        "prompt": [{"role": "user", "content": "<image>Why?" if image else "Why?"}],
        "images": [{"bytes": image, "path": None}] if image else [],
        "data_source": "exact_match",
        "reward_model": {"ground_truth": truth},
        "extra_info": {"index": index},
    }


SCHEMA = pa.schema(
    {
        "prompt": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
        "images": pa.list_(pa.struct({"bytes": pa.binary(), "path": pa.string()})),
        "data_source": pa.string(),
        "reward_model": pa.struct({"ground_truth": pa.string()}),
        "extra_info": pa.struct({"index": pa.int64()}),
    }
)


def write(path: Path, rows: list[dict], **options: object) -> Path:
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path, **options)
    return path


class AtMostFourImages:
    """A measure, as the student's processor is one."""

    def __call__(self, row: Row, sizes: list[tuple[int, int]]) -> None:
        if row.index == "5":
            error = RowError("prompt", "too long", 9, "at most 4", "shorten it")
            error.num_tokens = 9
            raise error


def make_measure() -> Measure:
    return AtMostFourImages()


@pytest.mark.parametrize("in_process", [True, False])
def test_bad_rows_are_listed_and_counted(tmp_path: Path, in_process: bool) -> None:
    rows = [row(index, png()) for index in range(40)]
    for number in range(20, 34):
        rows[number] = row(number, truth=None)
    rows[7] = row(7, png()[:-24])
    good = write(tmp_path / "good.parquet", [row(index, png()) for index in range(30)], row_group_size=7)
    bad = write(tmp_path / "bad.parquet", rows, row_group_size=9)
    checked = check_files([good, bad], "", {bad: make_measure}, in_process)
    assert checked.num_rows == {good: 30, bad: 40}
    assert (checked.num_bad, len(checked.bad)) == (16, 10)
    assert [number for _, number, _ in checked.bad] == [5, 7, *range(20, 28)]
    assert checked.num_images == {good: 30, bad: 40 - 16}
    with pytest.raises(ValueError) as caught:
        checked.raise_if_bad()
    lines = str(caught.value).splitlines()
    assert "16 rows or files cannot be used" in lines[0] and "the first 10 of them" in lines[0]
    assert lines[1:5] == [
        f"  {bad}, row 5, prompt: too long",
        "    got:      9 (int)",
        "    expected: at most 4",
        "    fix:      shorten it",
    ]
    assert len(lines) == 42 and lines[-1] == "  The longest prompt has 9 tokens."


def test_good_files_pass(tmp_path: Path) -> None:
    check_files([write(tmp_path / "good.parquet", [row(None), row(None)])], "", in_process=True).raise_if_bad()


def test_every_row_has_an_index_of_its_own(tmp_path: Path) -> None:
    """The row without one is number 2, which row 0 has taken."""
    rows = [row(2), row(7), row(None), row(9), row(7), row(7)]
    checked = check_files([write(tmp_path / "twice.parquet", rows)], "", in_process=True)
    assert [(number, error.got) for _, number, error in checked.bad] == [
        (2, "2, as in row 0"),
        (4, "7, as in row 1"),
        (5, "7, as in row 1"),
    ]


def damaged(path: Path) -> Path:
    """Whole but for the pages of its second row group."""
    write(path, [row(index, png((60, 60))) for index in range(4)], row_group_size=2)
    start = pq.ParquetFile(path).metadata.row_group(1).column(2).data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + 200] = os.urandom(200)
    path.write_bytes(content)
    return path


def not_utf8(path: Path) -> Path:
    table = pa.Table.from_pylist([row(0)], schema=SCHEMA)
    sources = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff\xfe"], pa.binary()).buffers())
    pq.write_table(table.set_column(2, "data_source", sources), path)
    return path


def written(content: bytes) -> Callable[[Path], Path]:
    def write_bytes(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return write_bytes


def with_columns(**changes: object) -> Callable[[Path], Path]:
    def write_columns(path: Path) -> Path:
        columns = {name: [value] for name, value in {**row(0), **changes}.items() if value != "absent"}
        pq.write_table(pa.table(columns), path)
        return path

    return write_columns


def with_map(path: Path) -> Path:
    table = pa.Table.from_pylist([row(0)], schema=SCHEMA).drop_columns("extra_info")
    more = pa.array([{"more": [("a", 1)]}], pa.struct({"more": pa.map_(pa.string(), pa.int64())}))
    pq.write_table(table.append_column("extra_info", more), path)
    return path


def twice(path: Path) -> Path:
    table = pa.Table.from_pylist([row(0)], schema=SCHEMA)
    pq.write_table(table.append_column("prompt", table["prompt"]), path)
    return path


FILES = {
    "absent": (lambda path: path, "the file: cannot be read"),
    "zero bytes": (written(b""), "got an empty file"),
    "no parquet": (written(b"index,prompt\n1,Why?\n" * 9), "the file: cannot be read"),
    "a pointer": (written(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "the file: cannot be read"),
    "cut off": (lambda path: written(write(path, [row(0)] * 9).read_bytes()[:-9])(path), "the file: cannot be read"),
    "a map": (with_map, "the file: has a map: got extra_info.more"),
    "no rows": (lambda path: write(path, []), "the file: has no rows"),
    "no prompt": (with_columns(prompt="absent"), "the file: lacks columns: got no prompt among"),
    "no truth": (with_columns(reward_model="absent"), "no reward_model among prompt, images"),
    "a column twice": (twice, "the file: has a column twice: got prompt"),
    "damaged": (damaged, "row 2, the file: is damaged from here on"),
    "no UTF-8": (not_utf8, "row 0, a text column: no text"),
    "numbers for truths": (
        with_columns(reward_model={"ground_truth": 42}),
        "reward_model.ground_truth: no text: got 42",
    ),
    "numbers for images": (with_columns(images=[7]), "images[0]: no image: got 7 (int)"),
    "images of nulls": (with_columns(images=[None]), "images[0]: no image"),
    "a null column of images": (with_columns(images=None), None),
    "no column of images": (with_columns(images="absent", extra_info="absent"), None),
}


@pytest.mark.parametrize("kind", FILES)
def test_files_of_every_kind(tmp_path: Path, kind: str) -> None:
    make, says = FILES[kind]
    checked = check_files([make(tmp_path / "train.parquet")], "", in_process=True)
    found = [
        (f"row {number}, " if "row" in str(says).split(",")[0] else "") + str(error) for _, number, error in checked.bad
    ]
    assert len(found) == (says is not None)
    assert says is None or says in found[0]


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    (bad,) = check_files([tmp_path], "", in_process=True).bad
    assert "cannot be read" in str(bad[2])


def test_memory_is_bounded_by_rows_and_not_by_the_file(tmp_path: Path) -> None:
    """Of 24 MB, a page at a time, or 2.4 MB as pyarrow writes it, once as stored and once as it is."""
    rows = [row(index, os.urandom(600_000)) for index in range(40)]
    path = write(tmp_path / "large.parquet", rows, row_group_size=4)
    before = pa.total_allocated_bytes()
    peak = max(pa.total_allocated_bytes() - before for _ in stream(path))
    assert 0 < peak < 3 * 2_400_000


def test_published_problems_with_their_diagrams_pass(tmp_path: Path, real_files: Path) -> None:
    """Geometry3K's own folders, as a user would write them: images by path."""
    rows = []
    for path in sorted((real_files / "geometry3k").glob("*/data.json")):
        problem = json.loads(path.read_text())
        question = {"role": "user", "content": f"<image>{problem['problem_text']}"}
        answer = problem["choices"]["ABCD".index(problem["answer"])]
        rows.append({**row(problem["id"]), "prompt": [question], "reward_model": {"ground_truth": answer}})
        rows[-1]["images"] = [{"bytes": None, "path": str(path.with_name("img_diagram.png"))}]
    checked = check_files([write(tmp_path / "train.parquet", rows)], "", in_process=True)
    checked.raise_if_bad()
    assert sum(checked.num_images.values()) == len(rows) == 10
