"""A data set of the hub in its cache, from a server that answers as the hub does, through huggingface_hub itself."""

from __future__ import annotations

import pytest
from huggingface_hub import constants

from tests.hub_server import Repo, ask, serve
from verl_vaopd.hub import download_dataset

FILES = {"data/train-0.parquet": b"a", "data/test-0.parquet": b"b", "README.md": b"c"}


def test_a_data_set_in_the_cache(tmp_path, monkeypatch):
    with serve() as hub:
        ask(hub, monkeypatch, tmp_path)
        repo = hub.repos["datasets/some/set"] = Repo(FILES)
        for asked in (["data/train-0.parquet", "data/test-0.parquet"], []):  # once, and not again
            directory, commit = download_dataset("some/set", ["data/*.parquet"])
            assert commit == repo.commit and hub.fetched() == asked
            assert [path.read_bytes() for path in sorted(directory.rglob("*.parquet"))] == [b"b", b"a"]
            hub.asked.clear()
        hub.repos["datasets/other/set"] = Repo({"README.md": b"c"})
        with pytest.raises(ValueError, match=r"other/set: got no data/\*.parquet.*--source DIR"):
            download_dataset("other/set", ["data/*.parquet"])
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert download_dataset("some/set", ["data/*.parquet"]) == (directory, commit)
        with pytest.raises(ValueError, match=r"third/set: got HF_HUB_OFFLINE=1.*or in its cache; fetch them elsewhere"):
            download_dataset("third/set", ["data/*.parquet"])
