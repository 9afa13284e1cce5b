"""Where a result comes from."""

import subprocess

import huggingface_hub
import pytest

import verl_vaopd
from verl_vaopd import provenance


def git(root, *arguments):
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)


def test_the_commit_and_changes_of_a_checkout(tmp_path, monkeypatch):
    package = tmp_path / "verl_vaopd" / "__init__.py"
    package.parent.mkdir()
    package.write_text("")
    monkeypatch.setattr(verl_vaopd, "__file__", str(package))
    assert provenance.source_version()["reason"] == "the package does not run from a git checkout"
    git(tmp_path, "init")
    assert provenance.source_version()["commit"] is None  # no commit yet
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    clean = provenance.source_version()
    assert len(clean["commit"]) == 40 and clean["dirty"] is False
    package.write_text("changed = True")
    assert provenance.source_version() == clean | {"dirty": True}


@pytest.fixture
def model(tmp_path):
    """model(name): a directory with the same two megabytes of weights each time."""

    def write(name):
        path = tmp_path / name
        path.mkdir()
        (path / "config.json").write_text("{}")
        (path / "model.safetensors").write_bytes(b"\0" * (2 << 20))
        return path

    return write


def test_weights_are_told_apart_by_content_not_by_place(model):
    here, moved = model("a"), model("b")
    first = provenance.weights_fingerprint(str(here))
    (moved / "README.md").write_text("says nothing about the weights")
    assert provenance.weights_fingerprint(str(moved)) == first
    with (moved / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\1")
    assert provenance.weights_fingerprint(str(moved)) != first
    (here / "config.json").write_text('{"tie": true}')
    assert provenance.weights_fingerprint(str(here)) != first


def test_a_hub_id_is_its_commit(monkeypatch):
    def snapshot_download(name, allow_patterns):
        assert (name, allow_patterns) == ("Qwen/Qwen3-VL-8B-Instruct", "config.json")
        return "/cache/models--Qwen--Qwen3-VL-8B-Instruct/snapshots/0c351dd"

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert provenance.weights_fingerprint("Qwen/Qwen3-VL-8B-Instruct") == "0c351dd"
