"""`vaopd prepare` on small copies of the public data sets, in every layout, and on real problems where they are."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.data.published_sets import hub_geometry3k, picture, released_geometry3k, virl39k
from tests.hub_server import Repo, ask, serve
from verl_vaopd.data.checking import check_files
from verl_vaopd.data.prepared import preparation
from verl_vaopd.data.prepared.parts import PART
from verl_vaopd.data.prepared.preparation import Request, prepare

GEO3K, VIRL39K = "hiyouga/geometry3k", "TIGER-Lab/ViRL39K"


def rows(file: Path) -> list[dict]:
    return pq.read_table(file).to_pylist()


def geo3k(source: Path, seed: int = 0) -> Request:
    return Request("geo3k", seed, {GEO3K: str(source)}, partial=True)


def test_the_hubs_layout(tmp_path: Path) -> None:
    source = hub_geometry3k(tmp_path / "source", {"train": 70, "validation": 5, "test": 3})
    manifest, is_new = prepare(geo3k(source), tmp_path / "out")
    assert is_new
    assert {name: counts["kept"] for name, counts in manifest["splits"].items()} == {
        "train": 70,
        "validation": 5,
        "test": 3,
    }
    written = rows(tmp_path / "out" / "train.parquet")
    assert [row["extra_info"]["index"] for row in written] == [f"train-{number}" for number in range(70)]
    assert written[69] == {
        "prompt": [{"role": "user", "content": "<image>Find $x_{69}$."}],
        "images": [{"bytes": picture(69)}],
        "data_source": "geo3k",
        "reward_model": {"style": "rule", "ground_truth": "69 \\sqrt { 3 }"},
        "extra_info": {"index": "train-69", "choices": None, "letter": None},
    }
    checked = check_files(sorted((tmp_path / "out").glob("*.parquet")), " Answer.")
    assert (checked.num_bad, sum(checked.num_rows.values())) == (0, 78)


@pytest.mark.parametrize("folders", [True, False])
def test_the_releases_layout(tmp_path: Path, folders: bool) -> None:
    source = tmp_path / "source"
    for folder, data_type, ids in (("train", "train", range(9, 12)), ("val", "val", range(2)), ("test", "test", [5])):
        released_geometry3k(source, folder if folders else ".", ids, data_type=data_type)
    prepare(geo3k(source), tmp_path / "out")
    written = rows(tmp_path / "out" / "train.parquet")
    assert [row["extra_info"] for row in written] == [
        {"index": str(number), "choices": ["1", str(number), "3", "4"], "letter": "B"} for number in (9, 10, 11)
    ]
    assert written[0]["prompt"][0]["content"] == "<image>Find $y_{9}$."
    assert written[0]["reward_model"]["ground_truth"] == "9"
    assert written[0]["images"] == [{"bytes": picture(9)}]
    assert len(rows(tmp_path / "out" / "validation.parquet")) == 2


def test_what_cannot_be_used_is_dropped_counted_and_named(tmp_path: Path) -> None:
    images = {
        "images/a-0.png": picture(0),
        "images/a-1.jpg": picture(1, "L", "JPEG"),
        "images/cut.png": picture(2)[:60],
    }
    good = {"answer": "\\boxed{42}"}
    source = virl39k(
        tmp_path / "virl",
        [
            {"qid": "one", "question": "<image>\nHow many?", "image": ["images/a-0.png"], **good},
            {"qid": "two", "question": "<image>A<image>B?", "image": ["images/a-0.png", "images/a-1.jpg"], **good},
            {"qid": "text", "question": "How many?", "image": [], **good},
            {"qid": "lost marks", "question": "A?", "image": ["images/a-0.png", "images/a-1.jpg"], **good},
            {"qid": "too few", "question": "<image>A?", "image": ["images/a-0.png", "images/a-1.jpg"], **good},
            {"qid": "no file", "question": "<image>A?", "image": ["images/b.png"], **good},
            {"qid": "cut", "question": "<image>A?", "image": ["images/cut.png"], **good},
            {"qid": "open box", "question": "A?", "image": [], "answer": "\\boxed{\\frac{1}{2}"},
            {"qid": "empty box", "question": "A?", "image": [], "answer": "\\boxed{}"},
            {"qid": "one", "question": "Again?", "image": [], **good},
        ],
        images,
    )
    geometry = hub_geometry3k(tmp_path / "geometry", {"validation": 4})
    request = Request("virl39k", 0, {VIRL39K: str(source), GEO3K: str(geometry)}, partial=True)
    manifest, _ = prepare(request, tmp_path / "out")
    written = {row["extra_info"]["index"]: row for row in rows(tmp_path / "out" / "train.parquet")}
    assert list(written) == ["one", "two", "text", "lost marks"]
    assert [len(row["images"]) for row in written.values()] == [1, 2, 0, 2]
    assert written["lost marks"]["prompt"][0]["content"] == "<image><image>A?"
    assert written["lost marks"]["extra_info"]["marks_added"] is True
    assert written["two"]["reward_model"]["ground_truth"] == "42"
    assert written["two"]["images"][1]["bytes"] == images["images/a-1.jpg"]
    assert written["two"]["extra_info"]["PassRate_32BTrained"] == 0.5
    assert {each["id"]: each["reason"] for each in manifest["dropped"]} == {
        "too few": "prompt: marks and images do not match",
        "no file": "images: cannot be read",
        "cut": "images: a damaged image",
        "open box": "answer: not one balanced box",
        "empty box": "reward_model.ground_truth: no text",
        "one": "id: not its own",
    }
    assert manifest["splits"]["train"]["dropped"]["images: cannot be read"] == 1
    assert manifest["splits"]["validation"]["kept"] == 4
    unpacked = virl39k(
        tmp_path / "unpacked",
        [{"qid": "1", "question": "Why?", "image": ["images/a-0.png"], **good}],
        images,
        packed=False,
    )
    prepare(Request("virl39k", 0, {VIRL39K: str(unpacked), GEO3K: str(geometry)}, partial=True), tmp_path / "out2")
    assert rows(tmp_path / "out2" / "train.parquet")[0]["images"] == [{"bytes": picture(0)}]


def test_too_much_that_is_dropped_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = {f"train_{number}": {"images": []} for number in range(1, 4)}
    source = hub_geometry3k(tmp_path / "source", {"train": 9, "validation": 1, "test": 1}, **bad)
    published = preparation.PREPARED["geo3k"]["train"]
    monkeypatch.setattr(published, "published", {"train": 9, "validation": 1, "test": 1})
    whole = Request("geo3k", 0, {GEO3K: str(source)})
    with pytest.raises(ValueError, match=r"train: got 3 problems of 9 .*3 x prompt: marks and images .*--partial"):
        prepare(whole, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    manifest, _ = prepare(geo3k(source), tmp_path / "out")
    assert manifest["splits"]["train"]["kept"] == 6


def test_held_out_problems_are_drawn_by_seed(tmp_path: Path) -> None:
    source = hub_geometry3k(tmp_path / "source", {"train": 1, "validation": 230, "test": 1})
    drawn = {seed: prepare(geo3k(source, seed), tmp_path / f"out{seed}")[0]["splits"]["validation"] for seed in (0, 1)}
    assert [(each["kept"], each["not_drawn"]) for each in drawn.values()] == [(200, 30)] * 2
    assert drawn[0]["ids"] != drawn[1]["ids"]
    assert drawn[0]["ids"] == sorted(drawn[0]["ids"], key=lambda name: int(name.split("-")[1]))


def test_again_does_nothing_and_otherwise_is_refused(tmp_path: Path) -> None:
    source = hub_geometry3k(tmp_path / "source", {"train": 3, "validation": 1, "test": 1})
    out = tmp_path / "out"
    prepare(geo3k(source), out)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    manifest, is_new = prepare(geo3k(source), out)
    assert not is_new
    assert manifest["splits"]["train"]["kept"] == 3
    with pytest.raises(ValueError, match="prepared otherwise"):
        prepare(geo3k(source, seed=1), out)
    with pytest.raises(ValueError, match="prepared otherwise"):  # the hub's, which is not asked
        prepare(Request("geo3k", 0, partial=True), out)
    (out / "test.parquet").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"test\.parquet, missing or not as it was prepared"):
        prepare(geo3k(source), out)
    hub_geometry3k(source, {"train": 4})
    with pytest.raises(ValueError, match="prepared otherwise"):
        prepare(geo3k(source), out)
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.name != "test.parquet"} == {
        name: changed for name, changed in before.items() if name != "test.parquet"
    }


def test_from_the_hub_and_again_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = hub_geometry3k(tmp_path / "source", {"train": 3, "validation": 1, "test": 2})
    files = {path.relative_to(source).as_posix(): path.read_bytes() for path in source.rglob("*.parquet")}
    request = Request("geo3k", 0, partial=True)
    with serve() as hub:
        ask(hub, monkeypatch, tmp_path / "cache")
        repo = hub.repos[f"datasets/{GEO3K}"] = Repo({**files, "README.md": b"not needed"})
        manifest, _ = prepare(request, tmp_path / "out")
        assert sorted(hub.fetched()) == sorted(files)
    (found,) = manifest["sources"]
    assert (found["kind"], found["place"]) == ("hub", f"{GEO3K}@{repo.commit}")
    assert found["files"] == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    assert manifest["splits"]["train"]["kept"] == 3
    assert prepare(request, tmp_path / "out") == (manifest, False)  # the hub is gone


def test_refused_before_anything_is_written(tmp_path: Path) -> None:
    source = hub_geometry3k(tmp_path / "source", {"train": 3, "validation": 1, "test": 1})
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"notes\.txt, which this program did not write"):
        prepare(geo3k(source), foreign)
    with pytest.raises(ValueError, match=r"got 3 problems of hiyouga/geometry3k, train; expected 2101.*--partial"):
        prepare(Request("geo3k", 0, {GEO3K: str(source)}), tmp_path / "out")
    with pytest.raises(ValueError, match="neither layout"):
        prepare(geo3k(foreign), tmp_path / "out")
    with pytest.raises(ValueError, match="is no directory"):
        prepare(geo3k(tmp_path / "mistyped"), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign", "source"]
    assert [path.name for path in foreign.iterdir()] == ["notes.txt"]


def test_a_killed_preparation_goes_on_where_it_was(tmp_path: Path) -> None:
    source = hub_geometry3k(tmp_path / "source", {"train": 2000, "validation": 1, "test": 1})
    command = [sys.executable, "-m", "verl_vaopd.cli", "prepare", "geo3k", "--source", str(source), "--partial"]
    parts = tmp_path / ".out.preparing"
    process = subprocess.Popen([*command, "--out", str(tmp_path / "out")], start_new_session=True)
    while len(list(parts.glob("train-*.parquet"))) < 3:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    there = sorted(parts.glob("train-*.parquet"))
    assert 3 <= len(there) < 32
    assert not (tmp_path / "out").exists()
    # A part that is there is taken as it is, which shows here.
    part = pq.read_table(there[0])
    pq.write_table(part.slice(1), there[0])
    manifest, _ = prepare(geo3k(source), tmp_path / "out")
    lost = PART * int(there[0].stem.removeprefix("train-"))
    assert manifest["splits"]["train"]["ids"] == [f"train-{number}" for number in range(2000) if number != lost]
    assert not parts.exists()


def test_real_problems(tmp_path: Path, real_files: Path) -> None:
    source = real_files / "geometry3k"
    for split, ids in {"train": range(11, 19), "val": (19,), "test": (20,)}.items():
        (tmp_path / "source" / split).mkdir(parents=True)
        for number in ids:
            (tmp_path / "source" / split / str(number)).symlink_to(source / str(number))
    manifest, _ = prepare(geo3k(tmp_path / "source"), tmp_path / "out")
    assert manifest["dropped"] == []
    written = [row for split in ("train", "validation", "test") for row in rows(tmp_path / "out" / f"{split}.parquet")]
    assert len(written) == 10
    for row in written:
        folder = source / row["extra_info"]["index"]
        problem = json.loads((folder / "data.json").read_text())
        place = "ABCD".index(problem["answer"])
        assert row["reward_model"]["ground_truth"] == problem["choices"][place]
        assert row["prompt"][0]["content"] == f"<image>{problem['annotat_text']}"
        assert row["images"] == [{"bytes": (folder / "img_diagram.png").read_bytes()}]
