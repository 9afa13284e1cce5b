"""Where a run writes: every place is there or can be made, can be written, has room, and holds nobody else's work."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from omegaconf import DictConfig

from verl_vaopd.config.checks.weights import checkpoint_bytes
from verl_vaopd.config.cluster import running_cluster
from verl_vaopd.config.errors import Findings
from verl_vaopd.data.generated import GENERATED
from verl_vaopd.data.stored import require_collection
from verl_vaopd.disk import existing, free_bytes, size
from verl_vaopd.platform import temporary, wandb_login

_LEAST_FREE = 64 << 20
"""Bytes that logs, metrics, dumps and Ray's own files need at least."""


def check_places(cfg: DictConfig, findings: Findings) -> None:
    """Directories of runs, of generated data, of stored responses, of temporary files and of caches; trackers."""
    for key, path, needed in _written(cfg):
        if _check_writable(findings, key, path, f"{key}=DIR with a directory that can be written"):
            _check_room(findings, key, path, needed, f"free some, or {key}=DIR on another disk")
    _check_temporary(cfg, findings)
    _check_home(findings)
    dataset = cfg.dataset
    if dataset.name in GENERATED and None not in (dataset.num_train, dataset.num_validation, dataset.num_test):
        _check_ours(
            findings,
            "dataset.root",
            Path(dataset.root).expanduser(),
            lambda: GENERATED[dataset.name].require_writable(dataset),
        )
    if cfg.method.stored_responses:
        responses = Path(cfg.collect.path).expanduser()
        _check_ours(findings, "collect.path", responses, lambda: require_collection(responses))
    if "wandb" in cfg.trainer.logger:
        _check_wandb(findings)


def _written(cfg: DictConfig) -> Iterator[tuple[str, Path, int]]:
    """(key, directory, bytes that are needed at least) of all that the configuration names."""
    checkpoint = checkpoint_bytes(cfg) if cfg.trainer.save_freq > 0 and not cfg.trainer.val_only else 0
    yield "run.root", Path(cfg.run.root).expanduser(), checkpoint + _LEAST_FREE
    if cfg.dataset.name in GENERATED and not (Path(cfg.dataset.root).expanduser() / "train.parquet").exists():
        yield "dataset.root", Path(cfg.dataset.root).expanduser(), _LEAST_FREE
    if cfg.method.stored_responses and not Path(cfg.collect.path).expanduser().exists():
        yield "collect.path", Path(cfg.collect.path).expanduser(), _LEAST_FREE


def _check_writable(findings: Findings, what: str, path: Path, fix: str) -> bool:
    problem = _unwritable(path)
    return findings.require(
        problem is None,
        f"{what} cannot be written",
        got=problem,
        expected="a directory, or a place to make one",
        fix=fix,
    )


def _unwritable(path: Path) -> str | None:
    """Why nothing can be written below a path; found out by writing, as permissions do not tell of all file systems."""
    base = existing(path)
    if os.path.islink(path) and not path.exists():
        return f"{path}, a link to {os.readlink(path)}, which is not there"
    if not base.is_dir():
        return f"{path}: {base} is a file" if base != path.absolute() else f"{path}, a file"
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".vaopd-", dir=base))
    except OSError as error:
        return f"{path}: {error.strerror} in {base}"
    return None


def _check_room(findings: Findings, what: str, path: Path, needed: int, fix: str) -> None:
    free = free_bytes(path)
    findings.require(
        free >= needed,
        f"the disk of {what} is too full",
        got=f"{size(free)} free on the file system of {existing(path)}",
        expected=f"about {size(needed)} at least: "
        + ("a checkpoint and what else a run writes" if needed > _LEAST_FREE else "logs, metrics and temporary files"),
        fix=fix,
    )


def _check_temporary(cfg: DictConfig, findings: Findings) -> None:
    for variable, place in temporary.places().items():
        instead = f"{variable}=DIR before the command, with a short path such as /tmp or /dev/shm"
        there = findings.require(
            os.path.isdir(place),
            "the directory for temporary files is not there",
            got=f"{variable}={place}",
            expected="a directory",
            fix=f"make it, or {instead}",
        )
        if not there:
            continue
        if _check_writable(findings, f"the directory for temporary files ({variable})", Path(place), instead):
            _check_room(findings, f"temporary files ({variable})", Path(place), _LEAST_FREE, f"free some, or {instead}")
        _check_sockets(cfg, findings, variable, place, temporary.LONGEST, instead)
    if given := cfg.ray_kwargs.ray_init.get("_temp_dir"):
        key = "ray_kwargs.ray_init._temp_dir"
        if _check_writable(findings, key, Path(given), f"leave {key} alone: Ray's files are below TMPDIR then"):
            _check_sockets(cfg, findings, key, given, temporary.LONGEST_OF_RAY, f"{key}=/tmp/ray")


def _check_sockets(cfg: DictConfig, findings: Findings, what: str, place: str, longest: int, fix: str) -> None:
    """Ray's sockets fit below the directory, unless a running cluster has them elsewhere."""
    if running_cluster(cfg) is not None:
        return
    findings.require(
        len(os.fsencode(place)) <= longest,
        "the path for temporary files is too long for Ray's sockets (AF_UNIX)",
        got=f"{what}={place}, {len(os.fsencode(place))} bytes",
        expected=f"at most {longest} bytes: Linux allows a socket 107, and Ray adds the rest",
        fix=fix,
    )


def _check_home(findings: Findings) -> None:
    """Ray keeps a token there, vLLM and what it compiles with their caches and settings: each ends with a traceback."""
    for variable in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        if place := os.environ.get(variable):
            what = f"the directory of libraries for caches and settings ({variable})"
            _check_writable(findings, what, Path(place), f"{variable}=DIR before the command")
    fix = (
        "HOME=DIR before the command, with a directory that can be written (HF_HOME=DIR keeps the models of the other)"
    )
    _check_writable(findings, "the home directory (HOME)", Path.home(), fix)


def _check_ours(findings: Findings, key: str, path: Path, require: Callable[[], None]) -> None:
    if not path.is_dir():
        return  # nothing is there, or what _check_writable tells
    try:
        require()
    except ValueError as error:
        findings.require(
            False,
            f"{key} holds something else",
            got=" ".join(str(error).split()),
            expected="a new or empty directory, or what this program has written there",
            fix=f"{key}=DIR with another directory",
        )


def _check_wandb(findings: Findings) -> None:
    problem = wandb_login.problem()
    findings.require(
        not problem,
        "Weights & Biases would not let this run log",
        got=problem,
        expected="a key that its server takes",
        fix="WANDB_MODE=offline before the command (files go into the run directory; `wandb sync` sends them later), "
        "or `wandb login`, or WANDB_API_KEY=..., or wandb=false",
    )
