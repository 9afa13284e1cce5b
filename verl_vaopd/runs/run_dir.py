"""The run directory: its name, what describes the run in it, and the lock that keeps a second process out.

The name follows from the recipes, the seed and a hash of the resolved configuration, so that the same command finds its
unfinished run and resumes it. Where the run lives (`run.name`, `root`, `dir`, `fresh`, `changed_data`), the Ray
cluster, what is checked (`preflight`) and what is told (`alarms`) are no part of the hash. The number of the student's
ranks is no part of the name: its checkpoints have a shard for each, so that the same command on another number finds
the run, and is refused. No torch is imported.

    config.yaml       the resolved configuration, run.dir included
    overrides.txt     the overrides of the command line, one per line
    versions.json     versions, seed, commit, data, command line and hardware of the first launch
    launches.jsonl    the same record for every launch
    events.jsonl      see events.py
    train.log         everything the training process and its libraries print
    checkpoints/      global_step_N, and `best`
    finished.json     exists once training is over, written last
"""

import copy
import fcntl
import hashlib
import json
import os
import platform
import shlex
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

import verl_vaopd
from verl_vaopd.data.files import contents
from verl_vaopd.disk import told_if_full
from verl_vaopd.files import write_text
from verl_vaopd.provenance import hardware, package_versions, source_version
from verl_vaopd.runs import differences

CONFIG, OVERRIDES, VERSIONS, LAUNCHES = "config.yaml", "overrides.txt", "versions.json", "launches.jsonl"
LOG, FINISHED, CHECKPOINTS = "train.log", "finished.json", "checkpoints"
_LOCK = "lock"

_WHEREABOUTS = {"name": "RUN", "root": "RUNS", "dir": "RUN_DIR", "fresh": False, "changed_data": False}
_WHEREABOUTS_KEYS = tuple(f"run.{name}" for name in _WHEREABOUTS)
_NO_PART = ("ray_kwargs", "preflight", "alarms")
"""Sections that say nothing of what a run computes."""
_RANKS = ("trainer.n_gpus_per_node", "trainer.nnodes")
"""Keys that say how many ranks the student has: verl writes FSDP's checkpoints in shards, one per rank."""
RECIPE_GROUPS = ("method", "student", "teacher", "dataset")


@dataclass(frozen=True)
class RunDir:
    """A prepared run directory, locked for this process and for children that inherit `lock`.

    Attributes:
        path: absolute.
        resumes: whether an earlier launch was here.
        changes: what is otherwise than at the first launch: software, and with run.changed_data data; one line each.
        lock: open file descriptor; the lock ends when every process closed it.
    """

    path: Path
    resumes: bool
    changes: tuple[str, ...]
    lock: int


def fingerprint(cfg: DictConfig, ranks: bool = True) -> str:
    """SHA-256 (hex) of the resolved configuration, independent of where the run lives.

    Args:
        ranks: whether the number of the student's ranks counts.
    """
    # Other values may contain these; with one fixed spelling they compare equal wherever the run lives.
    placed = _with_run(cfg, **_WHEREABOUTS)
    for key in () if ranks else _RANKS:
        OmegaConf.update(placed, key, 1, force_add=True)
    container = OmegaConf.to_container(placed, resolve=True)
    assert isinstance(container, dict)
    for section in _NO_PART:
        container.pop(section, None)
    content = json.dumps(container, sort_keys=True, ensure_ascii=False)
    # Models shipped with the package are the same wherever it is installed.
    package = json.dumps(str(Path(verl_vaopd.__file__).parent))[1:-1]
    return hashlib.sha256(content.replace(package, "PACKAGE").encode()).hexdigest()


def choose(cfg: DictConfig) -> Path:
    """Absolute path this configuration runs in: its unfinished run, or the first free name. Creates nothing."""
    root = Path(cfg.run.root).expanduser().absolute()
    name = cfg.run.name or "-".join(
        [*(str(cfg[group].name) for group in RECIPE_GROUPS), f"s{cfg.run.seed}", fingerprint(cfg, ranks=False)[:8]]
    )
    latest = None
    for number in count(1):
        path = root / (name if number == 1 else f"{name}-{number}")
        if not path.exists():
            return latest if latest is not None and not cfg.run.fresh and not is_finished(latest) else path
        latest = path
    raise AssertionError("unreachable")


def with_dir(cfg: DictConfig, path: Path) -> DictConfig:
    """A copy of the configuration with `run.dir` and `run.name` set and every interpolation resolved."""
    placed = _with_run(cfg, dir=str(path), name=path.name)
    return OmegaConf.create(OmegaConf.to_container(placed, resolve=True))


def prepare(cfg: DictConfig, overrides: Sequence[str], command: Sequence[str]) -> RunDir:
    """Create or find the run directory, lock it and write down what runs.

    Args:
        cfg: composed and validated configuration.
        overrides: as given by the user.
        command: the whole command line.
    Raises ValueError when another process holds the directory, when it belongs to another configuration or to other
    data (which run.changed_data allows), or when it is no run directory.
    """
    path = choose(cfg)
    require_ours(path)
    is_new = not path.exists()
    try:
        return _prepare(cfg, path, overrides, command)
    except OSError:  # no room, for instance
        if is_new:
            shutil.rmtree(path, ignore_errors=True)
        raise


def _prepare(cfg: DictConfig, path: Path, overrides: Sequence[str], command: Sequence[str]) -> RunDir:
    path.mkdir(parents=True, exist_ok=True)
    lock = _acquire(path)
    if is_finished(path) and path != choose(cfg):  # another process finished it between the choice and the lock
        os.close(lock)
        return prepare(cfg, overrides, command)
    resumes = (path / CONFIG).exists()
    record = describe(cfg, command)
    changes: tuple[str, ...] = ()
    if resumes:
        first = _first_launch(path)
        if first["config_sha256"] != record["config_sha256"]:
            os.close(lock)
            now, then = with_dir(cfg, path), OmegaConf.load(path / CONFIG)
            raise ValueError(differences.of_configuration(path, now, then, (*_NO_PART, *_WHEREABOUTS_KEYS), _RANKS))
        changed_files = differences.changed_files(first, record)
        if changed_files and not cfg.run.changed_data:
            os.close(lock)
            raise ValueError(differences.of_data(path, changed_files))
        changes = (
            *differences.of_software(first, record),
            *(f"{file}: another content than at the start" for file in changed_files),
        )
    else:
        write_text(path / VERSIONS, json.dumps(record, indent=2) + "\n")
        write_text(path / OVERRIDES, "".join(f"{override}\n" for override in overrides))
    with told_if_full(path), (path / LAUNCHES).open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    # Last, because it says that an earlier launch was here; on a resume, because the directory may have moved.
    write_text(path / CONFIG, OmegaConf.to_yaml(with_dir(cfg, path)))
    return RunDir(path=path, resumes=resumes, changes=changes, lock=lock)


def discard(run: RunDir) -> None:
    """Remove the directory of a run that was refused before it began; one that an earlier launch began stays."""
    if not run.resumes:
        shutil.rmtree(run.path)


def is_finished(path: str | os.PathLike[str]) -> bool:
    """Whether training in this directory is over."""
    return (Path(path) / FINISHED).exists()


def mark_finished(path: str | os.PathLike[str], **summary: Any) -> None:
    """Declare the run over; the training process calls it after everything else is written.

    Args:
        summary: JSON values worth keeping, such as the last and the best step.
    """
    write_text(Path(path) / FINISHED, json.dumps({"time": _now(), **summary}, indent=2) + "\n")


def describe(cfg: DictConfig, command: Sequence[str]) -> dict[str, Any]:
    """What runs, on what: a JSON object."""
    return {
        "time": _now(),
        "command": shlex.join(command),
        "config_sha256": fingerprint(cfg),
        "seed": cfg.run.seed,
        "data": contents(cfg),
        "source": source_version(),
        "python": platform.python_version(),
        "packages": package_versions(),
        "hardware": hardware(),
    }


def _with_run(cfg: DictConfig, **values: Any) -> DictConfig:
    changed = copy.deepcopy(cfg)
    OmegaConf.set_readonly(changed, False)
    for name, value in values.items():
        OmegaConf.update(changed, f"run.{name}", value, force_add=True)
    return changed


def require_ours(path: Path) -> None:
    """Raise ValueError where something else than a run lies."""
    if not path.exists():
        return
    there = sorted(child.name for child in path.iterdir()) if path.is_dir() else ["a file"]
    # The record of the first launch is the first file of a run, after its lock.
    others = [name for name in there if name != _LOCK and not name.startswith(f".{VERSIONS}.")]
    if others and "config_sha256" not in _first_launch(path):
        raise ValueError(
            f"run.name: got {path.name!r}, but {path} is no run directory: it holds {', '.join(others[:5])}; expected "
            "a new name, or that of a run; choose another run.name or run.root, or move that away"
        )


def _first_launch(path: Path) -> dict[str, Any]:
    """The record of the first launch; {} where there is none."""
    try:
        record = json.loads((path / VERSIONS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _acquire(path: Path) -> int:
    descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 100).decode().strip()
        os.close(descriptor)
        raise ValueError(
            f"{path}: got a run directory that process {holder} trains in, expected a free one; "
            "wait for it or stop it, or start another run with run.fresh=true"
        ) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
