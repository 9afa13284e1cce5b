"""Stored responses: the files on disk, resuming, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf

from verl_vaopd.data.stored import (
    SCHEMA,
    Collection,
    StoredPrompt,
    StoredResponses,
    is_complete,
    stored_responses,
)
from verl_vaopd.data.stored_settings import WRITING_SETTINGS, made_with, training_file
from verl_vaopd.rollout import collect
from verl_vaopd.rollout.collect import summary_text

SETTINGS: dict[str, Any] = {
    "teacher.path": "weights 12ab",
    "teacher.dtype": "float32",
    "dataset.root": "train.parquet 34cd",
    "data.max_response_length": 256,
    "run.seed": 0,
    "dataset.prompt_suffix": "Why",
    "dataset.min_pixels": 9,
    "dataset.max_pixels": None,
    "collect.n": 5,
    "collect.keep": 2,
    "collect.temperature": 0.7,
    "collect.top_p": 0.95,
    "collect.prompts_per_part": 2,
}
A, B, C = ([1, 2, 9], [1, 3, 9], [4, 9])


def prompt(index: str, *responses: list[int], **counts: int) -> StoredPrompt:
    zero = dict.fromkeys(("num_sampled", "num_correct", "num_malformed", "num_truncated", "num_duplicates"), 0)
    return StoredPrompt(index, list(responses), [str(r) for r in responses], **{**zero, **counts}, pass_rate=0.0)


def collection(path: Path, num_prompts: int = 3, **changes: Any) -> Collection:
    return Collection(path, {**SETTINGS, **changes}, num_prompts, {"teacher": "/models/t"})


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """Three prompts in two parts: two responses, none, and one."""
    path = tmp_path / "responses"
    with collection(path) as writing:
        writing.append(
            [
                prompt("7", A, B, num_sampled=5, num_correct=4, num_duplicates=1, num_truncated=1),
                prompt("8", num_sampled=5, num_malformed=2, num_truncated=1),
            ]
        )
        writing.append([prompt("x", C, num_sampled=5, num_correct=1, num_malformed=1)])
    return path


# ---- the files


def test_what_is_written_is_read(finished: Path) -> None:
    stored = StoredResponses(finished)
    assert len(stored) == 3
    assert stored.responses("7") == [A, B] and stored.responses("8") == [] and stored.responses("x") == [C]
    assert [stored.num_responses(index) for index in ("7", "8", "x")] == [2, 0, 1]
    assert stored.max_length() == 3
    assert sorted(path.name for path in finished.glob("[!.]*")) == [
        "manifest.json",
        "part-00000.parquet",
        "part-00001.parquet",
    ]
    first = pq.read_table(finished / "part-00000.parquet")
    assert first.schema.equals(SCHEMA)
    assert first["texts"].to_pylist() == [["[1, 2, 9]", "[1, 3, 9]"], []]
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["made_with"] == SETTINGS and manifest["provenance"] == {"teacher": "/models/t"}


def test_summary_accounts_for_every_sample(finished: Path) -> None:
    """15 sampled = 5 correct + 3 malformed + 2 truncated + 5 wrong; 5 correct = 3 kept + 1 duplicate + 1 surplus."""
    summary = StoredResponses(finished).summary()
    assert summary == {
        "num_prompts": 3,
        "num_prompts_without": 1,
        "num_sampled": 15,
        "num_kept": 3,
        "num_correct": 5,
        "num_malformed": 3,
        "num_truncated": 2,
        "num_wrong": 5,
        "num_duplicates": 1,
        "num_surplus": 1,
        "pass_rate": 1 / 3,
    }
    text = summary_text(summary)
    assert "3, 1 of them without a kept response" in text and "3 kept of 15 sampled, 33.3 % passed" in text
    assert "2 truncated, 3 malformed, 5 wrong, 1 duplicates, 1 beyond collect.keep" in text


def test_a_collection_without_any_response_can_be_read(tmp_path: Path) -> None:
    with collection(tmp_path, num_prompts=1) as writing:
        writing.append([prompt("7", num_sampled=5)])
    stored = StoredResponses(tmp_path)
    assert stored.max_length() == 0 and stored.summary()["num_wrong"] == 5


def test_the_cache_reads_a_directory_once(finished: Path) -> None:
    stored = stored_responses(str(finished))
    shutil.rmtree(finished)
    assert stored_responses(str(finished)) is stored


# ---- resuming


def test_an_interrupted_collection_goes_on_after_its_last_whole_part(tmp_path: Path) -> None:
    with collection(tmp_path) as writing:
        assert writing.missing() == [range(0, 2), range(2, 3)]
        writing.append([prompt("7", A), prompt("8")])
    (tmp_path / "part-00001.unfinished").write_bytes(b"PAR1")  # killed while it was written
    assert not is_complete(tmp_path)
    with pytest.raises(ValueError, match=r"holds 2 prompts; expected all 3 .*run `vaopd collect` again"):
        StoredResponses(tmp_path)
    before = (tmp_path / "part-00000.parquet").read_bytes(), (tmp_path / "manifest.json").read_bytes()
    with collection(tmp_path) as writing:
        assert writing.missing() == [range(2, 3)]
        writing.append([prompt("x", C)])
        assert writing.missing() == []
    assert is_complete(tmp_path)
    assert StoredResponses(tmp_path).responses("x") == [C]
    assert before == ((tmp_path / "part-00000.parquet").read_bytes(), (tmp_path / "manifest.json").read_bytes())


def test_a_second_writer_is_kept_out(tmp_path: Path) -> None:
    with collection(tmp_path), pytest.raises(ValueError, match="another process is writing"):
        collection(tmp_path).__enter__()
    with collection(tmp_path) as writing:
        assert len(writing.missing()) == 2


def test_a_gap_between_parts_is_an_error(finished: Path) -> None:
    (finished / "part-00000.parquet").unlink()
    with pytest.raises(ValueError, match=r"without part 0, expected no gap before part-00001\.parquet"):
        StoredResponses(finished)


# ---- refusals


@pytest.mark.parametrize("key", SETTINGS)
def test_a_directory_made_with_other_settings_is_not_extended(finished: Path, key: str) -> None:
    with pytest.raises(ValueError, match=rf"(?s)other settings.*{key}: {SETTINGS[key]} there, new now") as refused:
        collection(finished, **{key: "new"}).__enter__()
    assert len(str(refused.value).splitlines()) == 2  # no other setting is blamed
    assert len(StoredResponses(finished)) == 3


def job(root: Path) -> Any:
    """The part of a job's configuration that `made_with` reads, with a teacher and a training file below `root`."""
    (root / "teacher").mkdir(parents=True)
    (root / "teacher" / "config.json").write_text("{}")
    (root / "teacher" / "model.safetensors").write_bytes(b"\0" * (2 << 20))
    pq.write_table(pa.table({"row": [1]}), root / "train.parquet")
    return OmegaConf.create(
        {
            "run": {"seed": 0},
            "teacher": {"path": str(root / "teacher"), "dtype": "float32"},
            "dataset": {"root": str(root), "prompt_suffix": "Why", "min_pixels": 9, "max_pixels": None}
            | {"overlong": "error"},
            "data": {"max_response_length": 256, "train_files": str(root / "train.parquet")},
            "collect": {key.split(".")[1]: value for key, value in SETTINGS.items() if key.startswith("collect.")},
        }
    )


def test_settings_are_named_by_configuration_key(tmp_path: Path) -> None:
    assert list(made_with(job(tmp_path))) == list(SETTINGS)


def test_responses_are_to_every_prompt_of_the_one_file_that_trains(tmp_path: Path) -> None:
    """Wherever it is: not to train.parquet in dataset.root beside it."""
    cfg = job(tmp_path)
    before = made_with(cfg)
    pq.write_table(pa.table({"row": [2]}), tmp_path / "mine.parquet")
    cfg.data.train_files = [str(tmp_path / "mine.parquet")]
    assert training_file(cfg) == tmp_path / "mine.parquet"
    assert {key for key, value in made_with(cfg).items() if value != before[key]} == {"dataset.root"}
    with pytest.raises(ValueError, match=r"got dataset.overlong=drop; expected every row"):
        made_with(OmegaConf.merge(cfg, {"dataset": {"overlong": "drop"}}))
    cfg.data.train_files = [str(tmp_path / "mine.parquet"), str(tmp_path / "train.parquet")]
    with pytest.raises(ValueError, match=r"got data.train_files with 2 files; expected one"):
        made_with(cfg)


def test_training_may_read_what_another_seed_collected_but_not_other_responses(tmp_path: Path) -> None:
    cfg = job(tmp_path / "world")
    with Collection(tmp_path / "responses", made_with(cfg), 1, {}) as writing:
        writing.append([prompt("7", A)])
    stored = StoredResponses(tmp_path / "responses")
    for key, value in zip(WRITING_SETTINGS, (1, "bfloat16", 64), strict=True):
        OmegaConf.update(cfg, key, value)
    stored.require_made_with(cfg)
    pq.write_table(pa.table({"row": [2]}), tmp_path / "world" / "train.parquet")
    cfg.collect.n, cfg.dataset.prompt_suffix = 16, ""
    with pytest.raises(
        ValueError, match=r"(?s)dataset\.root: train\.parquet \w+ there.*collect\.n: 5 there, 16 now"
    ) as no:
        stored.require_made_with(cfg)
    assert "dataset.prompt_suffix: Why there,  now" in str(no.value)


def test_training_collects_unless_a_complete_collection_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = job(tmp_path / "world")
    cfg.collect.path = str(tmp_path / "responses")
    collected: list[Any] = []
    monkeypatch.setattr(collect, "collect", collected.append)

    def start_training(**changes: Any) -> int:
        OmegaConf.save(OmegaConf.merge(cfg, changes), tmp_path / "config.yaml")
        collect.main([str(tmp_path / "config.yaml")])
        return len(collected)

    assert start_training() == 1
    with Collection(tmp_path / "responses", made_with(cfg), 1, {}) as writing:
        assert start_training() == 2
        writing.append([prompt("7", A)])
    assert start_training(run={"seed": 1}) == 2
    with pytest.raises(ValueError, match=r"collect\.n: 5 there, 16 now"):
        start_training(collect={"n": 16})


def test_missing_directories_and_prompts_say_what_to_run(tmp_path: Path, finished: Path) -> None:
    with pytest.raises(ValueError, match="run `vaopd collect` with the same dataset and teacher"):
        StoredResponses(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no prompt '9'.*run `vaopd collect` with the same dataset and teacher"):
        StoredResponses(finished).responses("9")


def test_a_directory_of_another_format_is_refused(finished: Path) -> None:
    manifest = json.loads((finished / "manifest.json").read_text())
    (finished / "manifest.json").write_text(json.dumps({**manifest, "format": 2}))
    with pytest.raises(ValueError, match="of format 2, expected 1"):
        StoredResponses(finished)
