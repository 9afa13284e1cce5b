"""The weights of local models: there, whole, and how large they are. Only headers are read, nothing of a tensor.

Weights are safetensors alone: whoever loads a pickle runs what is in it.
"""

from __future__ import annotations

import contextlib
import json
import math
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from verl_vaopd.config.errors import Findings

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
_POINTER = b"version https://git-lfs"
_PICKLED = (".bin", ".pt", ".pth", ".ckpt")
_LONGEST_HEADER = 100 << 20  # bytes: safetensors' own limit


def check_weights(cfg: DictConfig, findings: Findings) -> None:
    """Of student and teacher, where they are directories of this machine."""
    for role in ("student", "teacher"):
        directory = Path(cfg[role].path).expanduser()
        if not (directory / "config.json").is_file():
            continue  # a hub id, or told by check_models
        for got, fix in _problems(directory):
            findings.require(
                False,
                f"the {role}'s weights cannot be read",
                got=got,
                expected="whole files of weights, as transformers' save_pretrained writes them",
                fix=fix,
            )
    _check_bucket(cfg, findings)


def require_whole_weights(key: str, directory: Path) -> None:
    """Raise ValueError where the weights in a directory cannot be read; `key` is the setting that named it."""
    for got, fix in _problems(directory):
        raise ValueError(f"{key}: got {got}; expected whole files of weights; {fix}")


def is_pointer(path: Path) -> bool:
    """Whether a file is what git leaves in the place of one that Git LFS has not fetched."""
    with path.open("rb") as file:
        return file.read(len(_POINTER)) == _POINTER


def get_the_file(path: Path) -> str:
    """How to mend a pointer of Git LFS."""
    return f"`git lfs pull` in {path.parent} (git-lfs installed), or download the model with `hf download`"


def as_safetensors(directory: Path) -> str:
    """How to turn pickled weights into safetensors beside them."""
    code = (
        "from verl_vaopd.platform import activate; activate(); "  # transformers imports no model without torchvision
        "from transformers import AutoModelForImageTextToText as Model; "
        f"Model.from_pretrained({str(directory)!r}, dtype='auto').save_pretrained({str(directory)!r})"
    )
    return f"where you trust them, write them as safetensors beside: python -c {shlex.quote(code)}"


def num_parameters(directory: Path) -> int | None:
    """Numbers in the safetensors files of a model; None where there are none that can be read."""
    return sum(elements for _, elements in _tensors(directory)) or None


def checkpoint_bytes(cfg: DictConfig) -> int:
    """About how much a checkpoint takes on disk, as far as the student is on this machine; 0: not known."""
    directory = _directory(cfg.student.path)
    parameters = None if directory is None else num_parameters(directory)
    return 0 if parameters is None else bytes_of_checkpoint(cfg, parameters)


def bytes_of_checkpoint(cfg: DictConfig, parameters: int) -> int:
    """About how much a checkpoint of so many parameters takes: weights and AdamW's two averages, as FSDP writes."""
    actor = cfg.actor_rollout_ref.actor
    width = 2 if "16" in str(actor.fsdp_config.model_dtype) else 4
    contents = actor.checkpoint.save_contents
    copies = ("model" in contents) + 2 * ("optimizer" in contents) + ("hf_model" in contents)
    teacher = 0 if cfg.teacher.ema_decay is None else 4 if cfg.teacher.dtype == "float32" else 2
    # With the tokenizer, and what a file format adds.
    return parameters * (width * copies + teacher) * 21 // 20


def _check_bucket(cfg: DictConfig, findings: Findings) -> None:
    """Where weights reach vLLM through shared memory, on the CPU, the largest tensor fits into one piece of it."""
    directory = _directory(cfg.student.path)
    largest = None if directory is None or cfg.trainer.device != "cpu" else _largest_tensor(directory)
    if largest is None:
        return
    key = "actor_rollout_ref.rollout.checkpoint_engine.update_weights_bucket_megabytes"
    bucket = cfg.actor_rollout_ref.rollout.checkpoint_engine.update_weights_bucket_megabytes
    needed = -(-largest[1] * 4 >> 20)  # as float32
    findings.require(
        bucket >= needed,
        "new weights do not fit on their way to vLLM",
        got=f"{key}={bucket}",
        expected=f"at least the {needed} MiB of the student's {largest[0]}, in float32",
        fix=f"{key}={needed}; /dev/shm must have that much room, too",
    )


def _largest_tensor(directory: Path) -> tuple[str, int] | None:
    """Name and number of elements."""
    return max(_tensors(directory), key=lambda tensor: tensor[1], default=None)


def _tensors(directory: Path) -> list[tuple[str, int]]:
    """Name and elements of every tensor in the safetensors files of a model; none where they cannot be read."""
    try:
        headers = [_header(path) for path in _files(directory) if path.suffix == ".safetensors"]
    except (OSError, ValueError):
        return []
    return [
        (name, math.prod(entry["shape"]))
        for header in headers
        for name, entry in header.items()
        if name != "__metadata__"
    ]


def _directory(model: str) -> Path | None:
    """Where a model's weights are on this machine: a directory, or that of a hub id in the cache."""
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    from huggingface_hub import try_to_load_from_cache  # imported for hub ids alone

    with contextlib.suppress(ValueError):  # no hub id
        for name in (INDEX, SINGLE):
            if isinstance(file := try_to_load_from_cache(model, name), str):
                return Path(file).parent
    return None


def _files(directory: Path) -> list[Path]:
    """The files of the weights: those that the index names, or whatever there is."""
    if (directory / INDEX).is_file() and not is_pointer(directory / INDEX):
        names = set(json.loads((directory / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
        return [directory / name for name in sorted(names)]
    return sorted(directory.glob("*.safetensors"))


def _problems(directory: Path) -> Iterator[tuple[str, str]]:
    """(got, fix) of everything that is wrong."""
    again = "download or write the model again"
    try:
        files = _files(directory)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        yield f"{directory / INDEX}: {error!r}, not an index of weights", again
        return
    if (directory / INDEX).is_file() and is_pointer(directory / INDEX):
        yield f"{directory / INDEX}: a pointer of Git LFS instead of the file", get_the_file(directory / INDEX)
    pickled = sorted(path.name for path in directory.iterdir() if path.suffix in _PICKLED)
    if not files and pickled:
        yield f"{directory}: {', '.join(pickled)}, which run code when they are loaded", as_safetensors(directory)
    elif not files:
        yield f"{directory}: no {SINGLE}, no {INDEX}", again
    for path in files:
        if not path.is_file():
            yield f"{path}: not there, though {INDEX} names it", again
        elif is_pointer(path):
            yield f"{path}: a pointer of Git LFS ({path.stat().st_size} bytes)", get_the_file(path)
        elif path.suffix == ".safetensors":
            try:
                _header(path)
            except ValueError as error:
                yield f"{path}: {error}", again


def _header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file. Raises ValueError unless the file is as long as it says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, _LONGEST_HEADER):
            raise ValueError(f"{size} bytes, which are no safetensors file or only its beginning")
        try:
            header: dict[str, Any] = json.loads(file.read(length))
            end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError("no header of a safetensors file") from None
    if size != 8 + length + end:
        raise ValueError(f"{size} bytes of {8 + length + end}: the file is cut off or damaged")
    return header
