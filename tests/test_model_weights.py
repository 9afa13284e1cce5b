"""Models of the hub, fetched ahead from a server that answers as the hub does, through huggingface_hub itself."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants, snapshot_download
from omegaconf import OmegaConf
from safetensors.torch import load_file

import verl_vaopd
from tests.hub_server import Hub, Repo, ask, repo_of, serve
from verl_vaopd import disk, progress
from verl_vaopd.cli import main
from verl_vaopd.commands import supervisor
from verl_vaopd.config.checks.weights import require_whole_weights
from verl_vaopd.model_weights import fetch_models, hub_models, require_models

TINY = Path(verl_vaopd.__file__).parent / "assets" / "tinygeo"
MODEL = "someone/tiny"
NAMED = {MODEL: "student.path"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub that has the tiny student, with a pickle and another folder beside its weights."""
    with serve() as served:
        ask(served, monkeypatch, tmp_path / "cache")
        repo = served.repos[f"models/{MODEL}"] = repo_of(TINY / "student")
        repo.files |= {"pytorch_model.bin": b"pickle", "onnx/config.json": b"{}", "README.md": b"tiny"}
        yield served


def wanted() -> set[str]:
    return {path.name for path in (TINY / "student").iterdir()}


def test_fetched_once_and_whole(hub, capsys, monkeypatch):
    """Without pickles; the second call fetches nothing; then its files are found, and required, without a hub."""
    monkeypatch.setattr(progress, "_AFTER", 0.0)
    fetch_models(NAMED)
    assert set(hub.fetched()) == wanted() and len(hub.fetched()) == len(wanted())
    told = capsys.readouterr().err
    assert f"fetching {MODEL}: {len(wanted())} files" in told and "100%" in told and "B/s" in told
    hub.asked.clear()
    fetch_models(NAMED)
    assert not hub.fetched() and "fetching" not in capsys.readouterr().err
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    fetch_models(NAMED)
    cached = Path(snapshot_download(MODEL, local_files_only=True))  # as transformers and vLLM look for it
    assert {path.name: path.read_bytes() for path in cached.iterdir()} == {
        path.name: path.read_bytes() for path in (TINY / "student").iterdir()
    }


def test_a_training_finds_its_models_there(hub, tmp_path, monkeypatch):
    """They are whole before the process that starts Ray."""
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(supervisor, "run", lambda run, console: seen.append(sorted(hub.fetched())) or 1)
    words = ["hardware=cpu", "dataset=tinygeo", "student=tiny", "teacher=tiny"]
    assert main(["train", *words, f"student.path={MODEL}", f"teacher.path={MODEL}"]) == 1
    assert seen == [sorted(hub.fetched())] and wanted() <= set(seen[0])


def test_what_cannot_be_had(hub, tmp_path, capsys, monkeypatch):
    def error() -> str:
        with pytest.raises((ValueError, OSError)) as raised:
            require_models(NAMED)
        assert not hub.fetched()
        return str(raised.value)

    repo = hub.repos[f"models/{MODEL}"]
    with monkeypatch.context() as full:
        full.setattr(disk, "free_bytes", lambda path: 1000)
        assert f"fetching {MODEL} needs about 2.1 MiB" in error()
    repo.refused = "GatedRepo"
    assert error().startswith(f"student.path: {MODEL}: got no access")
    hub.repos[f"models/{MODEL}"] = Repo({"config.json": b"{}", "pytorch_model.bin": b"pickle"})
    assert "which has no *.safetensors" in error() and "student.path=DIR" in error()
    hub.repos.clear()
    assert error().startswith(f"student.path: {MODEL}: got no such model")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert f"got HF_HUB_OFFLINE=1, expected an answer of {hub.endpoint}, or {MODEL} whole" in error()
    words = [f"model={MODEL}", "benchmarks=custom", f"files.custom={tmp_path / 'q.jsonl'}", f"out={tmp_path / 'out'}"]
    (tmp_path / "q.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n')
    assert main(["eval", *words]) == 2
    assert f"vaopd: {MODEL}: got HF_HUB_OFFLINE=1" in capsys.readouterr().err


def test_a_shard_that_is_missing_offline(hub, monkeypatch):
    """An interrupted call left the index and one of the two files that it names."""
    repo = hub.repos[f"models/{MODEL}"]
    weights = repo.files.pop("model.safetensors")
    index = b'{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}'
    shards = {"model-1.safetensors": weights, "model-2.safetensors": weights[:-1] + b"\1"}
    repo.files |= {"model.safetensors.index.json": index, **shards}
    repo.gone.add("model-2.safetensors")
    with pytest.raises(ValueError, match="the same command goes on with the files that are not whole"):
        fetch_models(NAMED)
    with monkeypatch.context() as offline:
        offline.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(ValueError, match=r"model-2.safetensors: not there.*`hf download someone/tiny`"):
            require_models(NAMED)
    repo.gone.clear()
    hub.asked.clear()
    fetch_models(NAMED)
    assert hub.fetched() == ["model-2.safetensors"]


def test_only_what_can_be_an_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    jobs = [{"student": {"path": student}, "teacher": {"path": MODEL}} for student in ("there", "/a/b", "x/y", "a/b/c")]
    assert hub_models(map(OmegaConf.create, jobs)) == {MODEL: "teacher.path", "x/y": "student.path"}


@pytest.mark.slow
def test_pickled_weights_of_a_directory_are_refused_and_the_fix_writes_safetensors(tmp_path):
    model = tmp_path / "model"
    shutil.copytree(TINY / "student", model)
    weights = load_file(model / "model.safetensors")
    torch.save(weights, model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"student.path: got .*pytorch_model.bin, which run code") as refused:
        require_whole_weights("student.path", model)
    # Without vLLM's and Ray's settings of this process.
    (command,) = re.findall(r"python (-c .*)$", str(refused.value))
    subprocess.run([sys.executable, *shlex.split(command)], check=True, capture_output=True)
    require_whole_weights("student.path", model)
    written = load_file(model / "model.safetensors")
    assert weights.keys() <= written.keys() and all(torch.equal(written[name], weights[name]) for name in weights)
