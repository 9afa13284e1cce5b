"""A machine, data sets and tiny models for configuration tests: nothing real is needed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import huggingface_hub.constants
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from tests.parsed_once import parsed_once
from verl_vaopd.config import compose, composition, resolvers, validate
from verl_vaopd.config.checks import hardware, models
from verl_vaopd.config.paths import verl_config_dir
from verl_vaopd.platform import Gpu

CPU = ["hardware=cpu", "dataset=tinygeo", "student=tiny", "teacher=tiny"]
PAPER = ["hardware=a100x8", "dataset=geo3k", "student=2b", "teacher=8b"]
TOKENS = ["<a>", "b", "c", "bc"]


def eight_gpus() -> list[Gpu]:
    return [Gpu("NVIDIA A100-SXM4-80GB", 81920)] * 8


def no_gpus() -> list[Gpu]:
    return []


def unreachable(*_: object, **__: object) -> None:
    raise httpx.ConnectError("no way to the hub")


def write_data(path: Path, num_rows: int = 256, **columns: object) -> Path:
    """Rows of which only the columns' names are right; a column that is None is left out."""
    row = {"prompt": "p", "data_source": "exact_match", "reward_model": "r", "extra_info": "e", **columns}
    row = {name: value for name, value in row.items() if value is not None}
    pq.write_table(pa.Table.from_pylist([row] * (num_rows or 1)).slice(0, num_rows), path)
    return path


def write_model(
    path: Path, tokens: list[str] = TOKENS, merges: tuple[str, ...] = ("b c",), vocab_size: int = 16, **config: object
) -> Path:
    """config.json and tokenizer.json of a model whose first token is an added one."""
    path.mkdir(parents=True, exist_ok=True)
    vision = {"in_channels": 3, "patch_size": 8, "temporal_patch_size": 2, "spatial_merge_size": 2}
    text = {"vocab_size": vocab_size, "max_position_embeddings": 1024}
    content = {"image_token_id": 0, "vision_config": vision, "text_config": text, **config}
    (path / "config.json").write_text(json.dumps(content))
    vocab = {token: index for index, token in enumerate(tokens) if index}
    tokenizer = {"model": {"vocab": vocab, "merges": list(merges)}, "added_tokens": [{"content": tokens[0], "id": 0}]}
    (path / "tokenizer.json").write_text(json.dumps(tokenizer))
    (path / "model.safetensors").write_bytes(safetensors(1000))
    return path


def safetensors(num_parameters: int) -> bytes:
    """A file of weights: one matrix of bfloat16."""
    header = {"w": {"dtype": "BF16", "shape": [num_parameters], "data_offsets": [0, 2 * num_parameters]}}
    encoded = json.dumps(header).encode()
    return len(encoded).to_bytes(8, "little") + encoded + bytes(2 * num_parameters)


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory with both real data sets prepared and the tiny models built, on a machine with vLLM's CPU
    build and flash-attn, without a model of the hub and without a way to it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    for name in ("has_cpu_vllm", "has_flash_attn"):
        monkeypatch.setattr(hardware, name, lambda: True)
    for name in ("CUDA_VISIBLE_DEVICES", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    for name in ("geo3k", "virl39k", "custom"):
        root = tmp_path / "datasets" / name
        root.mkdir(parents=True)
        for split in ("train", "validation"):
            write_data(root / f"{split}.parquet")
    assets = tmp_path / "assets"
    for role in ("student", "teacher"):
        write_model(assets / "tinygeo" / role)
    for module in (resolvers, models):
        monkeypatch.setattr(module, "ASSETS_DIR", assets)
    return tmp_path


@pytest.fixture(scope="package", autouse=True)
def fast_compositions() -> Iterator[None]:
    with parsed_once():
        yield


@pytest.fixture(scope="module")
def verl_in_one_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """verl's defaults composed once and for all, where it is our recipes and keys that are combined."""
    directory = tmp_path_factory.mktemp("verl")
    with initialize_config_dir(str(verl_config_dir()), version_base="1.3"):
        OmegaConf.save(hydra_compose("ppo_trainer"), directory / "ppo_trainer.yaml")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(composition, "verl_config_dir", lambda: directory)
        yield


@pytest.fixture(scope="session")
def changed() -> Callable[..., DictConfig]:
    """changed(recipes, {key: value}): a configuration with values set after composing, which is much faster."""
    composed: dict[tuple[str, ...], DictConfig] = {}

    def change(recipes: list[str], values: dict[str, object]) -> DictConfig:
        if tuple(recipes) not in composed:
            composed[tuple(recipes)] = compose(recipes)
        cfg = copy.deepcopy(composed[tuple(recipes)])
        for key, value in values.items():
            OmegaConf.update(cfg, key, value)
        return cfg

    return change


@pytest.fixture
def problems(changed: Callable[..., DictConfig]) -> Callable[..., list[str]]:
    """problems(recipes, {key: value}): what `validate` finds wrong, one text each."""

    def find(recipes: list[str], values: dict[str, object], probe: Callable[[], list[Gpu]] = eight_gpus) -> list[str]:
        try:
            validate(changed(recipes, values), hardware_probe=probe)
        except ValueError as error:
            return [str(problem) for problem in error.problems]
        return []

    return find
