"""A teacher that follows the student: exponential moving average over FSDP shards (on-policy self-distillation).

Teacher and student are the same architecture, wrapped alike on the same ranks, so that every rank holds the same part
of both and no communication is needed.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.distributed.tensor import DTensor


@torch.no_grad()
def update(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """teacher = decay * teacher + (1 - decay) * student, parameter by parameter, in place.

    Raises:
        ValueError: the modules do not have the same parameters.
    """
    students = dict(student.named_parameters())
    teachers = dict(teacher.named_parameters())
    if {name: value.shape for name, value in students.items()} != {
        name: value.shape for name, value in teachers.items()
    }:
        raise ValueError(
            "the moving-average teacher has other parameters than the student; expected the same model: "
            "leave teacher.path at ${student.path}"
        )
    for name, value in teachers.items():
        source = students[name].detach()
        _local(value).lerp_(_local(source).to(_local(value).dtype), 1 - decay)


def full_head(teacher: nn.Module) -> torch.Tensor:
    """The whole LM head [V, d], gathered from all ranks."""
    weight = dict(teacher.named_modules())["lm_head"].weight.detach()
    return (weight.full_tensor() if isinstance(weight, DTensor) else weight).clone()


def save(teacher: nn.Module, directory: str, rank: int, world_size: int) -> None:
    """Write this rank's shards."""
    path = _path(directory, rank, world_size)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({name: _local(value).cpu() for name, value in teacher.named_parameters()}, path)


@torch.no_grad()
def load(teacher: nn.Module, directory: str, rank: int, world_size: int) -> None:
    """Read what `save` wrote with the same number of ranks.

    Raises:
        ValueError: nothing was written by this rank of as many.
    """
    path = _path(directory, rank, world_size)
    if not path.is_file():
        raise ValueError(
            f"{path} is not there: expected the moving-average teacher of {world_size} ranks; resume on as many GPUs "
            "as the checkpoint was written with"
        )
    shards = torch.load(path, map_location="cpu", weights_only=True)
    for name, value in teacher.named_parameters():
        _local(value).copy_(shards[name])


def _path(directory: str, rank: int, world_size: int) -> Path:
    return Path(directory) / "teacher" / f"world_size_{world_size}_rank_{rank}.pt"


def _local(value: torch.Tensor) -> torch.Tensor:
    return value.to_local() if isinstance(value, DTensor) else value.data
