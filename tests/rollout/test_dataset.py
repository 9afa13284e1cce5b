"""The data set under verl: rows as the check reads them, whatever wrote the file."""

from __future__ import annotations

import asyncio
import datetime
import io
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf
from PIL import Image

from verl_vaopd.platform import activate

activate()
from verl_vaopd.config import compose  # noqa: E402
from verl_vaopd.config.checks.dataset import require_enough_rows  # noqa: E402
from verl_vaopd.config.paths import ASSETS_DIR  # noqa: E402
from verl_vaopd.data.checking import check_files  # noqa: E402
from verl_vaopd.data.generated import GENERATED  # noqa: E402
from verl_vaopd.rollout import row_check  # noqa: E402
from verl_vaopd.rollout.dataset import PromptDataset, RowFile  # noqa: E402

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 96, 3), dtype=np.uint8))
CONFIG = OmegaConf.create(
    {
        "rows": {
            "prompt_suffix": " Why?",
            "min_pixels": None,
            "max_pixels": None,
            "left_out": None,
            "student": str(ASSETS_DIR / "tinygeo" / "student"),
        },
        "shuffle": True,
        "seed": 0,
    }
)


def png() -> bytes:
    file = io.BytesIO()
    PICTURE.save(file, "PNG")
    return file.getvalue()


def rows(count: int) -> list[dict]:
    return [
        {
            "prompt": [{"role": "user", "content": f"<image>What is {number}?"}],
            "images": [{"bytes": png(), "path": "7.png"}],
            "data_source": "exact_match",
            "reward_model": {"style": "rule", "ground_truth": str(number)},
            "when": datetime.date(2026, 1, 1),
            "prompts": "a column that verl has another use for",
        }
        for number in range(count)
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of three files, with a name that is a pattern elsewhere."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "[my] data *"
    folder.mkdir()
    for name, count in (("train", 6), ("validation", 4), ("test_ood", 5)):
        pq.write_table(pa.Table.from_pylist(rows(count)), folder / f"{name}.parquet")
    return folder


def test_a_prompt_has_what_agent_loops_take_and_nothing_else(folder: Path) -> None:
    prompts = PromptDataset(str(folder / "train.parquet"), None, CONFIG)
    prompt = prompts[4]
    assert len(prompts) == 6
    assert set(prompt) == {
        *("raw_prompt", "data_source", "reward_model", "extra_info"),
        *("index", "split", "dummy_tensor"),
    }
    assert (prompt["index"], prompt["split"]) == ("4", "train")
    assert prompt["reward_model"] == {"ground_truth": "4", "question": "<image>What is 4?"}
    (message,) = prompt["raw_prompt"]
    assert [part["type"] for part in message["content"]] == ["image", "text"]
    assert message["content"][1]["text"] == "What is 4? Why?"


@pytest.mark.parametrize(
    ("pixels", "size"), [({}, (96, 64)), ({"min_pixels": 50_000}, (288, 192)), ({"max_pixels": 3_000}, (64, 32))]
)
def test_images_are_within_the_limits(folder: Path, pixels: dict[str, int], size: tuple[int, int]) -> None:
    config = OmegaConf.merge(CONFIG, {"rows": pixels})
    prompt = PromptDataset([str(folder / "train.parquet")], None, config)[0]
    found = asyncio.run(PromptDataset.process_multi_modal_info(prompt["raw_prompt"], 16, config))
    assert [image.size for image in found[0]] == [size] and found[1:] == (None, None)
    text = [{"role": "user", "content": "Why?"}]
    assert asyncio.run(PromptDataset.process_multi_modal_info(text, 16, config)) == (None, None, None)


def test_the_first_of_every_held_out_file_are_kept(folder: Path) -> None:
    prompts = PromptDataset([str(folder / f"{name}.parquet") for name in ("validation", "test_ood")], None, CONFIG)
    prompts.keep_first(2)
    kept = [(prompts[place]["split"], prompts[place]["index"]) for place in range(len(prompts))]
    assert prompts.questions_of("test_ood") == ["0", "1"] and prompts.questions_of("nowhere") == []
    assert kept == [("validation", "0"), ("validation", "1"), ("test_ood", "0"), ("test_ood", "1")]


def test_some_of_the_rows(folder: Path) -> None:
    """As many as `data.train_max_samples`, drawn by the seed, or the first without a shuffle."""
    path = str(folder / "train.parquet")
    drawn = [
        int(prompt["index"]) for prompt in map(PromptDataset(path, None, CONFIG, max_samples=3).__getitem__, range(3))
    ]
    assert drawn == np.random.default_rng(0).choice(6, size=3, replace=False).tolist()
    unshuffled = PromptDataset(path, None, OmegaConf.merge(CONFIG, {"shuffle": False}), max_samples=3)
    assert [unshuffled[place]["index"] for place in range(len(unshuffled))] == ["0", "1", "2"]


def test_a_file_of_the_datasets_library_is_not_decoded(folder: Path) -> None:
    """Its schema says that the column holds images, which that library would decode, turned or not."""
    features = datasets.Features(
        {
            "prompt": [{"role": datasets.Value("string"), "content": datasets.Value("string")}],
            "images": [datasets.Image()],
            "data_source": datasets.Value("string"),
            "reward_model": {"ground_truth": datasets.Value("string")},
        }
    )
    made = [{name: row[name] for name in features} for row in rows(2)]
    for row in made:
        row["reward_model"].pop("style")
    path = folder / "hub.parquet"
    datasets.Dataset.from_list(made, features=features).to_parquet(path)
    check_files([path], "", in_process=True).raise_if_bad()
    assert RowFile(path, "")[1].images == (png(),)


def test_a_row_that_went_bad_is_named(folder: Path) -> None:
    made = rows(3)
    made[2]["images"] = ["gone.png"]
    for row in made[:2]:
        row["images"] = ["there.png"]
    (folder / "there.png").write_bytes(png())
    pq.write_table(pa.Table.from_pylist(made), folder / "paths.parquet")
    prompts = PromptDataset(str(folder / "paths.parquet"), None, CONFIG)
    assert prompts[1]["raw_prompt"][0]["content"][0]["image"] == png()
    with pytest.raises(ValueError, match=r"paths.parquet, row 2, images\[0\]: no such file"):
        prompts[2]


# ---- the check of a job


@pytest.fixture
def job(folder: Path):
    """job(*overrides): the configuration of a job on the files."""
    common = ["hardware=cpu", "student=tiny", "teacher=tiny", "dataset=geo3k", "run.dir=unused"]
    sizes = ["dataset.min_pixels=null", "dataset.max_pixels=null", "data.max_prompt_length=400"]

    def make(*overrides: str):
        return OmegaConf.merge(compose([*common, *sizes, *overrides]), {"dataset": {"root": str(folder)}})

    row_check._passed.clear()
    yield make
    row_check._passed.clear()


def test_a_job_checks_its_files_once_with_the_students_tokens(job, folder, monkeypatch) -> None:
    asked = []
    real = row_check.check_files
    monkeypatch.setattr(
        row_check,
        "check_files",
        lambda files, *rest, **options: asked.append(files) or real(files, *rest, in_process=True),
    )
    row_check.require_rows(job())
    row_check.require_rows(job())
    assert [[path.name for path in files] for files in asked] == [["validation.parquet", "train.parquet"], []]
    with pytest.raises(ValueError, match=r"10 rows or files .*\n.*train.parquet, row 0, prompt: too long") as caught:
        row_check.require_rows(job("data.max_prompt_length=30"))
    assert f"The longest prompt has {str(caught.value).split('got:')[1].split()[0]} tokens." in str(caught.value)
    row_check.require_rows(job("method=opsd", "teacher=tiny"))  # the solution is the ground truth, which is there
    with pytest.raises(ValueError, match=r"6 rows or files (.|\n)*extra_info.solution: no reference solution"):
        row_check.require_rows(job("method=opsd", "teacher=tiny", "privilege.reference=extra_info.solution"))


def test_too_long_prompts_are_left_out_where_the_configuration_says_so(job, folder, tmp_path) -> None:
    made = rows(4)
    made[2]["prompt"][0]["content"] += " Why?" * 300
    pq.write_table(pa.Table.from_pylist(made), folder / "train.parquet")
    with pytest.raises(ValueError, match=r"1 rows or files .*\n.*row 2, prompt: too long"):
        row_check.require_rows(job())
    cfg = job("dataset.overlong=drop", f"run.dir={tmp_path}", "data.train_batch_size=4")
    row_check.require_rows(cfg)
    assert row_check.left_out_rows(cfg) == {folder / "train.parquet": [2]}
    with pytest.raises(ValueError, match="fewer rows than a batch\n  got:      3 rows"):
        require_enough_rows(cfg, row_check.left_out_rows(cfg))
    row_check.record_left_out(cfg, tmp_path)
    prompts = PromptDataset(cfg.data.train_files, None, cfg.data)
    assert [prompt["index"] for prompt in map(prompts.__getitem__, range(len(prompts)))] == ["0", "1", "3"]
    assert prompts.questions_of("train") == ["0", "1", "3"]
    assert len(PromptDataset(cfg.data.val_files, None, cfg.data)) == 4


def test_what_is_made_here_is_checked_by_who_makes_it(job, folder, monkeypatch) -> None:
    monkeypatch.setitem(GENERATED, "geo3k", None)
    made = [{**row, "reward_model": None} for row in rows(2)]
    pq.write_table(pa.Table.from_pylist(made), folder / "train.parquet")
    row_check.require_rows(job())
    with pytest.raises(ValueError, match=r"2 rows or files (.|\n)*train.parquet, row 0, reward_model: no ground truth"):
        row_check.require_made_rows(job())


def test_names_of_rows_are_those_that_are_read(folder: Path) -> None:
    made = [
        {**row, "extra_info": {"index": index, "more": 1}} for row, index in zip(rows(3), (7, None, 9), strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(made), folder / "named.parquet")
    file = RowFile(folder / "named.parquet", "")
    assert file.indices() == [file[number].index for number in range(3)] == ["7", "1", "9"]
