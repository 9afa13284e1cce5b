"""`vaopd eval fetch` against a server that answers as the hub does, through huggingface_hub itself."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants
from PIL import Image

from tests.evaluation.published_rows import ROWS
from tests.hub_server import Hub, Repo, ask, serve
from verl_vaopd import disk
from verl_vaopd.cli import main
from verl_vaopd.evaluation.benchmarks import BENCHMARKS
from verl_vaopd.evaluation.fetching import plan

# As the hub lists them, with what is beside them there.
LAYOUTS = {
    "wemath": (["data/testmini-00000-of-00001-adbfe22dcd3558e6.parquet"], ["testmini.json", "testmini.zip"]),
    "mathvista": (
        ["data/testmini-00000-of-00001-725687bf7a18d64b.parquet"],
        ["data/test-00000-of-00002-6b81bd7f7e2065e6.parquet", "annot_testmini.json", "images.zip", "source.json"],
    ),
    "mathverse": (["testmini.parquet"], ["testmini_text_only.parquet", "testmini.json", "images.zip"]),
    "hallusionbench": (["data/image-00000-of-00001.parquet"], ["data/non_image-00000-of-00001.parquet"]),
    "ai2d": (["data/test-00000-of-00002.parquet", "data/test-00001-of-00002.parquet"], ["README.md"]),
    "mmmu": (
        ["Accounting/validation-00000-of-00001.parquet", "Sociology/validation-00000-of-00001.parquet"],
        ["Accounting/dev-00000-of-00001.parquet", "Accounting/test-00000-of-00001.parquet", "README.md"],
    ),
    "mmstar": (["mmstar.parquet"], ["MMStar.tsv", "README.md"]),
    "ocrbench": (["data/test-00000-of-00001.parquet"], [".gitattributes"]),
    "geo3k": (
        ["data/test-00000-of-00001.parquet"],
        ["data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet"],
    ),
}
FIRST, SECOND = LAYOUTS["mmmu"][0]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """An empty hub, which huggingface_hub asks in this process."""
    with serve() as served:
        ask(served, monkeypatch, tmp_path / "cache")
        yield served


def publish(hub: Hub, name: str) -> Repo:
    """A benchmark, its rows spread over the files of the layout."""
    wanted, others = LAYOUTS[name]
    layout = next(
        layout for layout, (benchmark, _, _) in ROWS.items() if benchmark == name and not layout.endswith("tsv")
    )
    image = io.BytesIO()
    Image.new("RGB", (4, 4)).save(image, "PNG")
    files = dict.fromkeys(others, b"not asked for")
    for number, file in enumerate(wanted):
        row = {**ROWS[layout][1], "image": {"bytes": image.getvalue(), "path": "a.png"}}
        for key in ("id", "question_id"):
            row |= {key: f"{row[key]}{number}"} if key in row else {}
        out = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([row]), out)
        files[file] = out.getvalue()
    repo = hub.repos[f"datasets/{BENCHMARKS[name].hub_id}"] = Repo(files)
    return repo


def test_a_person_fetches_and_reads(tmp_path, capsys):
    """The command itself, by the variables that people set; a token is sent and never printed."""
    with serve() as hub:
        repo = publish(hub, "mmmu")
        variables = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_canary"}
        command = [sys.executable, "-m", "verl_vaopd.cli", "eval", "fetch", "mmmu", "data=datasets"]
        fetched = subprocess.run(command, cwd=tmp_path, env=os.environ | variables, capture_output=True, text=True)
    assert fetched.returncode == 0, fetched.stderr
    assert fetched.stdout.startswith("mmmu: 2 files, ") and fetched.stdout.endswith("in datasets/MMMU\n")
    sent = {token for path, token in hub.tokens.items() if BENCHMARKS["mmmu"].hub_id in path}
    assert sent == {"Bearer hf_canary"} and "hf_canary" not in fetched.stdout + fetched.stderr
    manifest = json.loads((tmp_path / "datasets/MMMU/manifest.json").read_text())
    assert (manifest["repository"], manifest["commit"]) == ("MMMU/MMMU", repo.commit)
    assert {name: entry["bytes"] for name, entry in manifest["files"].items()} == {
        name: len(repo.files[name]) for name in (FIRST, SECOND)
    }
    assert main(["eval", "questions", "mmmu", f"data={tmp_path / 'datasets'}"]) == 0
    read = capsys.readouterr()
    assert len(read.out.splitlines()) == 2 and f"MMMU/MMMU at {repo.commit[:8]}, as fetched" in read.err


@pytest.mark.parametrize("name", LAYOUTS)
def test_only_the_files_of_the_split(hub, name, tmp_path):
    publish(hub, name)
    assert [file.name for file in plan(BENCHMARKS[name], tmp_path).files] == LAYOUTS[name][0]


def test_all_fetched_once(hub, tmp_path, capsys):
    """The second call asks nobody, so that it also succeeds offline."""
    for name in LAYOUTS:
        publish(hub, name)
    assert main(["eval", "fetch", "all", "geo3k", f"data={tmp_path / 'data'}"]) == 0
    assert sorted(hub.fetched()) == sorted(name for wanted, _ in LAYOUTS.values() for name in wanted)
    hub.asked.clear()
    capsys.readouterr()
    assert main(["eval", "fetch", "all", "geo3k", f"data={tmp_path / 'data'}"]) == 0
    assert capsys.readouterr().out.count("there already") == len(LAYOUTS) and not hub.asked
    assert not list((tmp_path / "data").glob(".*"))


def test_interrupted_and_resumed(hub, tmp_path, capsys, monkeypatch):
    """A connection that breaks goes on where it broke; the next call with the files that are not whole."""
    repo = publish(hub, "mmmu")
    words = ["eval", "fetch", "mmmu", f"data={tmp_path / 'data'}"]
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 64)
    repo.cut[FIRST] = 100
    repo.gone.add(SECOND)
    assert main(words) == 2
    assert "MMMU/MMMU: got RemoteEntryNotFoundError (404" in capsys.readouterr().err
    assert ("GET", f"datasets/MMMU/MMMU/resolve/{repo.commit}/{FIRST}", "bytes=64-") in hub.asked
    assert not (tmp_path / "data/MMMU").exists()
    repo.gone.clear()
    hub.asked.clear()
    assert main(words) == 0
    assert hub.fetched() == [SECOND]
    assert (tmp_path / "data/MMMU" / FIRST).read_bytes() == repo.files[FIRST]


def test_a_file_that_is_not_what_the_hub_says(hub, tmp_path, capsys):
    repo = publish(hub, "mmstar")
    repo.other_content["mmstar.parquet"] = bytes(len(repo.files["mmstar.parquet"]))
    words = ["eval", "fetch", "mmstar", f"data={tmp_path}"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "mmstar.parquet: got a file of SHA-256" in error and "the same command fetches it again" in error
    repo.other_content.clear()
    assert main(words) == 0


def test_a_file_that_was_changed_since(hub, tmp_path, capsys):
    publish(hub, "mmstar")
    assert main(["eval", "fetch", "mmstar", f"data={tmp_path}"]) == 0
    file = tmp_path / "MMStar/mmstar.parquet"
    file.write_bytes(file.read_bytes() + b"\0")
    assert main(["eval", "fetch", "mmstar", f"data={tmp_path}"]) == 2
    assert "mmstar.parquet (not as it was written)" in capsys.readouterr().err
    assert main(["eval", "questions", "mmstar", f"data={tmp_path}"]) == 2
    assert "expected the files that `vaopd eval fetch` wrote and no other" in capsys.readouterr().err
    file.unlink()
    assert main(["eval", "fetch", "mmstar", f"data={tmp_path}"]) == 0 and file.is_file()


def test_files_of_somebody_else_stay(hub, tmp_path, capsys):
    publish(hub, "geo3k")
    mine = tmp_path / "geometry3k/data/test-00000-of-00001.parquet"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    assert main(["eval", "fetch", "geo3k", f"data={tmp_path}"]) == 2
    assert "which this program did not write and so does not replace" in capsys.readouterr().err
    assert mine.read_bytes() == b"mine" and not hub.asked
    mine.rename(tmp_path / "mine.parquet")
    mine.parent.rmdir()
    (tmp_path / "geo3k").mkdir()  # training's
    assert main(["eval", "fetch", "geo3k", f"data={tmp_path}"]) == 0
    assert f"{tmp_path / 'geo3k'} is there too" in capsys.readouterr().out


def test_before_anything_is_fetched(hub, tmp_path, capsys, monkeypatch):
    repo = publish(hub, "mmstar")
    publish(hub, "geo3k")
    words = ["eval", "fetch", "geo3k", "mmstar", f"data={tmp_path}"]

    def refused() -> str:
        assert main(words) == 2
        assert not hub.fetched() and not list(tmp_path.rglob("*.parquet"))
        return capsys.readouterr().err

    with monkeypatch.context() as full:
        full.setattr(disk, "free_bytes", lambda path: 100)
        assert "what is to be fetched needs about" in refused()
    repo.refused = "GatedRepo"
    assert "Lin-Chen/MMStar: got no access (no token is set)" in refused()
    hub.repos.pop("datasets/Lin-Chen/MMStar")
    assert "Lin-Chen/MMStar: got no such dataset" in refused()
    hub.repos["datasets/Lin-Chen/MMStar"] = Repo({"README.md": b"moved"})
    assert "mmstar: got no parquet file of the split val or mmstar" in refused()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "got HF_HUB_OFFLINE=1, expected an answer" in refused()


def test_offline(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://name:secret@127.0.0.1:9")
    assert main(["eval", "fetch", "mmstar", f"data={tmp_path}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("vaopd: Lin-Chen/MMStar: got ConnectError") and "secret" not in line
    assert f"copy {tmp_path / 'MMStar'} here" in line


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["tinygeo"], "tinygeo: got a benchmark that is not on the hub"),
        (["mathvista", "limit=3"], "fetch: got limit=3"),
        (["data=d"], "fetch: got no name"),
        (["mathvist"], "benchmarks: got mathvist"),
    ],
)
def test_mistakes(words, error, capsys):
    assert main(["eval", "fetch", *words]) == 2
    assert f"vaopd: {error}" in capsys.readouterr().err
