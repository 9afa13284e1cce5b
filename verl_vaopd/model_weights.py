"""Models that are named by their id on the Hugging Face hub: fetched ahead, before Ray or vLLM would do so in silence.

They go into the hub's cache of this machine, where transformers and vLLM find them. Weights are safetensors alone:
whoever loads a pickle runs what is in it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from omegaconf import DictConfig

from verl_vaopd import hub
from verl_vaopd.config.checks.weights import require_whole_weights
from verl_vaopd.disk import require_room, size

_WEIGHTS = "*.safetensors"
_FILES = (_WEIGHTS, "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt")
"""Weights, configuration, tokenizer, processor, chat template: of the repository's own folder, not of others in it."""


def hub_models(configs: Iterable[DictConfig], roles: Iterable[str] = ("student", "teacher")) -> dict[str, str]:
    """{hub id: the setting that names it} of the models of some jobs; directories are left out."""
    named = {str(cfg[role].path): f"{role}.path" for cfg in configs for role in roles}
    return {model: key for model, key in named.items() if is_hub_id(model)}


def is_hub_id(model: str) -> bool:
    """Whether it is no path of this machine, and can be the id of a repository."""
    return not Path(model).expanduser().exists() and hub.ID.fullmatch(model) is not None


def require_models(models: Mapping[str, str]) -> list[tuple[hub.Repository, list[hub.HubFile]]]:
    """Check that models of the hub are in the cache, or can be had and have room there. Nothing is fetched.

    Args:
        models: as hub_models.
    Returns: of every model that is not whole in the cache, its repository and the files that are missing.
    Raises:
        ValueError: neither; or a model without safetensors.
        DiskFull: no room.
    """
    from huggingface_hub import constants

    found = [(key, _missing(key, model)) for model, key in models.items()]
    wanted = [each for _, each in found if each is not None]
    num_bytes = sum(file.size for _, files in wanted for file in files)
    what = " and ".join(repository.id for repository, _ in wanted)
    require_room(Path(constants.HF_HUB_CACHE), num_bytes, f"fetching {what}")
    return wanted


def fetch_models(models: Mapping[str, str]) -> None:
    """Fetch what is missing of them, with a bar on stderr. Raises as require_models."""
    from huggingface_hub import constants

    for repository, files in require_models(models):
        total = size(sum(file.size for file in files))
        print(f"fetching {repository.id}: {len(files)} files, {total}, to {constants.HF_HUB_CACHE}", file=sys.stderr)
        hub.download(repository, files)


def _missing(key: str, model: str) -> tuple[hub.Repository, list[hub.HubFile]] | None:
    """None for nothing, and where the hub is out of reach and the model in the cache."""
    try:
        found = hub.repository(model, "model")
    except hub.UnreachableError as error:
        _require_cached(key, model, error)
        return None
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None
    files = [file for file in found.files if any(fnmatchcase(file.name, f) for f in _FILES) and "/" not in file.name]
    if not any(fnmatchcase(file.name, _WEIGHTS) for file in files):
        raise ValueError(
            f"{key}: got {model}, which has no {_WEIGHTS}, expected weights as safetensors (pickles run code when "
            "they are loaded); choose another one, or load it where you trust it, `save_pretrained` it, and "
            f"name that directory with {key}=DIR"
        )
    missing = hub.not_cached(found, files)
    return (found, missing) if missing else None


def _require_cached(key: str, model: str, unreachable: hub.UnreachableError) -> None:
    from huggingface_hub import constants, try_to_load_from_cache

    config = try_to_load_from_cache(model, "config.json")
    try:
        if not isinstance(config, str):
            raise ValueError(f"nothing of it is in {constants.HF_HUB_CACHE}")
        require_whole_weights(model, Path(config).parent)
    except ValueError as error:
        raise ValueError(
            f"{key}: {unreachable}, or {model} whole in the hub's cache ({error}); `hf download {model}` where there "
            f"is a network and HF_HOME is the same directory, or name a directory with the model: {key}=DIR"
        ) from None
