"""`vaopd prepare check DIR`: what is reported, what is dropped, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.data.leaking import altered, encoded, figure, row
from verl_vaopd import cli
from verl_vaopd.files import sha256_of


def write(directory: Path, **splits: list[dict[str, object]]) -> Path:
    """A directory as `vaopd prepare` writes one."""
    directory.mkdir()
    for name, rows in splits.items():
        pq.write_table(pa.Table.from_pylist(rows), directory / f"{name}.parquet")
    ids = {name: [str(each["extra_info"]["index"]) for each in rows] for name, rows in splits.items()}  # type: ignore
    manifest = {
        "dataset": "geo3k",
        "request": {},
        "sources": [],
        "splits": {name: {"kept": len(ids[name]), "dropped": {"answer: no box": 1}, "ids": ids[name]} for name in ids},
        "dropped": [],
        "files": {path.name: {"sha256": sha256_of(path), "rows": 0, "bytes": 0} for path in directory.iterdir()},
    }
    (directory / "manifest.json").write_text(json.dumps(manifest))
    return directory


@pytest.fixture
def leaking(tmp_path) -> Path:
    """Train has 5 rows: 1 is in validation, 3 in test, 4 is 0 again."""
    figures = [encoded(figure(seed)) for seed in range(8)]
    train = [row("Find x.", figures[number % 4], index=number) for number in range(5)]
    return write(
        tmp_path / "data",
        train=train,
        validation=[row("Find x.", altered(figure(1))["smaller"], index="v")],
        test=[row("Find y.", figures[3], index="t"), row("Find x.", figures[5], index="u")],
    )


def check(*words: str | Path) -> int:
    return cli.main(["prepare", "check", *map(str, words)])


def train_ids(directory: Path) -> list[int]:
    return [each["index"] for each in pq.read_table(directory / "train.parquet")["extra_info"].to_pylist()]


def test_leaks_are_reported_and_dropped_once(leaking, tmp_path, capsys):
    before = {path.name: path.read_bytes() for path in leaking.iterdir()}
    result = tmp_path / "result.json"
    assert check(leaking, "--json", result) == 1
    out = capsys.readouterr().out
    assert "train 1 = validation v: image " in out
    assert "train 3 = test t: same pixels" in out
    found = {(pair["left"], pair["right"]): pair["matches"] for pair in json.loads(result.read_text())["comparisons"]}
    assert {pair: [(each["row"], each["other"], each["kind"]) for each in found[pair]] for pair in found} == {
        ("train", "train"): [("4", "0", "image+question")],
        ("train", "validation"): [("1", "v", "image+question")],
        ("train", "test"): [("3", "t", "image")],
        ("validation", "test"): [],
    }
    assert {path.name: path.read_bytes() for path in leaking.iterdir()} == before

    digest = sha256_of(leaking / "train.parquet")
    assert check(leaking, "--drop") == 0
    assert "dropped 2 rows" in capsys.readouterr().out
    assert train_ids(leaking) == [0, 2, 4]
    assert (leaking / "test.parquet").read_bytes() == before["test.parquet"]
    manifest = json.loads((leaking / "manifest.json").read_text())
    train = leaking / "train.parquet"
    assert manifest["files"]["train.parquet"] == {"sha256": sha256_of(train), "rows": 3, "bytes": train.stat().st_size}
    assert manifest["splits"]["train"] == {
        "kept": 3,
        "dropped": {"answer: no box": 1, "leak: it is in validation too": 1, "leak: it is in test too": 1},
        "ids": ["0", "2", "4"],
    }
    assert [(each["split"], each["id"]) for each in manifest["dropped"]] == [("train", "1"), ("train", "3")]
    (record,) = manifest["dropped_leaks"]
    assert record["sha256_before"] == digest
    assert record["against"]["test"] == sha256_of(leaking / "test.parquet")
    assert [(each["row"], each["in"], each["other"]) for each in record["rows"]] == [
        ("1", "validation", "v"),
        ("3", "test", "t"),
    ]

    after = {path.name: path.read_bytes() for path in leaking.iterdir()}
    assert check(leaking, "--drop") == 0
    assert "dropped 0 rows" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in leaking.iterdir()} == after


def test_benchmarks_with_and_without_images(leaking, tmp_path, capsys):
    data = tmp_path / "datasets"
    (data / "wemath" / "images").mkdir(parents=True)
    figure(2).save(data / "wemath" / "images" / "1.png")
    question = {"ID": "1", "question": "Find x.", "option": "A. 1; B. 2", "answer": "A", "key": "2steps_1"}
    rows = [{**question, "image_path": f"{name}.png", "ID": name} for name in ("1", "2")]
    (data / "wemath" / "testmini.json").write_text(json.dumps(rows))
    assert check(leaking, "--data", data) == 1
    by_data = capsys.readouterr().out
    assert "wemath: 2 questions, 1 images" in by_data
    assert "1 of its images are not there" in by_data
    assert "1 of these questions are too general" in by_data
    assert "train 2 = wemath 1/2steps_1: same pixels, same question" in by_data
    check(leaking, "--against", f"wemath={data / 'wemath' / 'testmini.json'}")
    assert "train 2 = wemath 1/2steps_1: same pixels, same question" in capsys.readouterr().out


def test_what_cannot_be_dropped_stays_a_leak(tmp_path):
    same = encoded(figure(1))
    directory = write(
        tmp_path / "data",
        train=[row("Find x.", encoded(figure(2)))],
        validation=[row("Find x.", same)],
        test=[row("Find x.", same)],
    )
    assert check(directory, "--drop") == 1
    assert "dropped_leaks" not in json.loads((directory / "manifest.json").read_text())


@pytest.mark.parametrize("change", ["no manifest", "changed", "a file of somebody's"])
def test_a_directory_of_somebody_is_not_written(leaking, capsys, change):
    if change == "no manifest":
        (leaking / "manifest.json").unlink()
    elif change == "changed":
        pq.write_table(pq.read_table(leaking / "test.parquet").slice(0, 1), leaking / "test.parquet")
    else:
        (leaking / "notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in leaking.iterdir()}
    assert check(leaking, "--drop") == 2
    told = capsys.readouterr()
    assert {
        "no manifest": "no manifest.json",
        "changed": "test.parquet (not as it was",
        "a file of somebody's": "notes",
    }[change] in told.err
    assert not told.out  # before anything was read
    assert {path.name: path.read_bytes() for path in leaking.iterdir()} == before


def test_a_data_set_of_nothing_but_leaks_is_kept(tmp_path, capsys):
    rows = [row("Find x.", encoded(figure(1)))]
    directory = write(tmp_path / "data", train=rows, validation=rows)
    assert check(directory, "--drop") == 2
    assert "all 1 rows of train.parquet leak" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--against", "mathvista"], "--against: got 'mathvista', expected NAME=PATH"),
        (["--against", "other=x"], "--against: got 'other=x', expected NAME=PATH"),
        (["--against", "mathvista=nowhere"], "--against mathvista: got nowhere, expected a file or directory"),
        (["--data", "."], "--data: got no benchmark in ., expected some"),
        (["--json", "taken.json"], "taken.json, which is not recorded as a result of this program"),
    ],
)
def test_arguments_that_cannot_be_used(leaking, tmp_path, monkeypatch, capsys, words, message):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    Path("taken.json").write_text("mine")
    assert check(leaking, *words) == 2
    assert message in capsys.readouterr().err


def test_rows_alone(leaking, capsys):
    assert check("--rows", leaking) == 0
    assert "validation" in capsys.readouterr().out
    assert check("--rows", leaking, "--drop") == 2
    assert "--rows: got it with an option about leaks" in capsys.readouterr().err


def real_row(real_files: Path, number: int, image: bytes | None = None) -> dict[str, object]:
    folder = real_files / "geometry3k" / str(number)
    problem = json.loads((folder / "data.json").read_text())
    return row(problem["problem_text"], image or (folder / "img_diagram.png").read_bytes(), index=number)


def test_real_geometry3k_problems(real_files, tmp_path, capsys):
    with Image.open(real_files / "geometry3k" / "13" / "img_diagram.png") as opened:
        image = opened.convert("RGB")
    copy = encoded(image.resize((image.width * 2 // 3, image.height * 2 // 3)), "JPEG", quality=60)
    directory = write(
        tmp_path / "data",
        train=[real_row(real_files, number) for number in range(11, 17)],
        validation=[*(real_row(real_files, number) for number in range(17, 21)), real_row(real_files, 13, copy)],
    )
    mathvista = real_files / "mathvista" / "testmini.json"
    assert check(directory, "--against", f"mathvista={mathvista}", "--json", tmp_path / "found.json") == 1
    assert "1000 of its images are not there" in capsys.readouterr().out
    pairs = json.loads((tmp_path / "found.json").read_text())["comparisons"]
    found = {
        (pair["left"], pair["right"]): [(each["row"], each["other"], each["kind"]) for each in pair["matches"]]
        for pair in pairs
    }
    assert found == {
        ("train", "train"): [],
        ("train", "validation"): [("13", "13", "image+question")],
        ("train", "mathvista"): [],
        ("validation", "mathvista"): [],
    }


def test_geometry3k_questions_of_mathvista_are_found_by_their_text(real_files, tmp_path):
    """Set as Geometry3K's own texts are: without dollars, letters apart."""
    rows = json.loads((real_files / "mathvista" / "testmini.json").read_text())
    geometry = {pid: each for pid, each in rows.items() if each["metadata"]["source"] == "Geometry3K"}
    apart = {
        "28": r"\overline { A B } is a diameter, A C = 8 inches, and B C = 15 inches. Find the radius of the circle."
    }
    train = [row(apart.get(pid, each["question"]), index=pid) for pid, each in geometry.items()]
    directory = write(tmp_path / "data", train=train)
    words = (f"mathvista={real_files / 'mathvista' / 'testmini.json'}", "--json", tmp_path / "found.json")
    assert check(directory, "--against", *words) == 1
    matches = json.loads((tmp_path / "found.json").read_text())["comparisons"][1]["matches"]
    assert ("28", "28", "question") in {(each["row"], each["other"], each["kind"]) for each in matches}
    general = {pid for pid, each in geometry.items() if each["question"] in ("Find x.", "Find $x$.")}
    assert general and not general & {each["row"] for each in matches}
