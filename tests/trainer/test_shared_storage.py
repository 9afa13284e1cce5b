"""Whether every node sees a run's places: what is asked and said. `make test-cluster` asks two real nodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from verl_vaopd.trainer import shared_storage

NODES = {"a": "10.0.0.1", "b": "10.0.0.2"}


@pytest.fixture
def config(tmp_path: Path) -> DictConfig:
    for name in ("run", "student"):
        (tmp_path / name).mkdir()
    return OmegaConf.create(
        {
            "run": {"dir": str(tmp_path / "run")},
            "student": {"path": str(tmp_path / "student")},
            "teacher": {"path": "Qwen/Qwen3-VL-8B-Instruct"},
            "data": {"train_files": str(tmp_path / "data/train.parquet")},
        }
    )


@pytest.fixture
def node_b_lacks(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Have the second node lack what contains a text; returns the list of all that it is asked for."""

    def lacks(text: str) -> list[str]:
        asked: list[str] = []

        def missing_on(node: str, paths: list[str]) -> list[str]:
            assert all(Path(path).exists() for path in paths if "run" in path)  # it is there while nodes look
            asked.extend(paths if node == "b" else [])
            return [path for path in paths if text in path] if node == "b" else []

        monkeypatch.setattr(shared_storage, "_missing_on", missing_on)
        return asked

    monkeypatch.setattr(shared_storage.ray, "get", lambda found, timeout: found)
    monkeypatch.setattr(shared_storage, "alive_nodes", lambda: NODES)
    return lacks


def test_what_all_nodes_see_is_accepted_and_nothing_is_left(config, node_b_lacks, tmp_path) -> None:
    asked = node_b_lacks("nothing of it")
    shared_storage.require_shared(config)
    written, *others = asked
    assert Path(written).parent == tmp_path / "run"
    assert others == [f"{tmp_path}/student", f"{tmp_path}/data/train.parquet"]  # no id of the hub
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "key"), [("/run/", "run.root"), ("student", "student.path"), ("train", "dataset.root")]
)
def test_what_one_node_does_not_see_is_named_with_the_node(config, node_b_lacks, tmp_path, text, key) -> None:
    node_b_lacks(text)
    with pytest.raises(ValueError, match=rf"^{key}: got {tmp_path}/.*, which the node 10\.0\.0\.2 .*{key}=DIR"):
        shared_storage.require_shared(config)
    assert list((tmp_path / "run").iterdir()) == []


def test_a_cluster_of_one_node_is_not_asked(config, monkeypatch) -> None:
    monkeypatch.setattr(shared_storage, "alive_nodes", lambda: {"a": "10.0.0.1"})
    monkeypatch.setattr(shared_storage, "_missing_on", None)
    shared_storage.require_shared(config)
