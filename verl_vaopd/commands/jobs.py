"""What a command that starts several runs has to say about each: configurations, directories, and what differs.

Everything is composed and checked before anything starts. Imports no torch.
"""

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from verl_vaopd.commands.checks import require_memory
from verl_vaopd.commands.data import require_data
from verl_vaopd.model_weights import hub_models, require_models
from verl_vaopd.runs import run_dir
from verl_vaopd.runs.run_dir import VERSIONS

# Runs of several have fixed directories, which a new start would not find.
RESERVED = ("run.dir", "run.fresh")


@dataclass(frozen=True)
class Job:
    """One run of several.

    Attributes:
        title: for a reader.
        cfg: composed and validated, with `run.root` and `run.name` set.
        overrides: those that make this configuration.
    """

    title: str
    cfg: DictConfig
    overrides: tuple[str, ...]

    @property
    def path(self) -> Path:
        """Absolute path of its run directory."""
        return Path(self.cfg.run.root).expanduser().absolute() / self.cfg.run.name


def make_job(
    title: str, cfg: DictConfig, overrides: Sequence[str], directory: Path, name: str, **changes: str | int
) -> Job:
    """The run `directory/name` of a composed configuration, which is copied.

    Args:
        overrides: those that the configuration was composed of.
        changes: values of further keys, with `__` for the dots of a key.
    """
    changed = copy.deepcopy(cfg)
    OmegaConf.set_readonly(changed, False)
    values = {key.replace("__", "."): value for key, value in changes.items()}
    values |= {"run.root": str(directory), "run.name": name}
    for key, value in values.items():
        OmegaConf.update(changed, key, value)
    lines = (f"{key}={quoted(value) if isinstance(value, str) else value}" for key, value in values.items())
    return Job(title, changed, (*overrides, *lines))


def is_done(job: Job) -> bool:
    """Whether the run is finished. Raises ValueError when it has another configuration, or when it is no run."""
    run_dir.require_ours(job.path)
    if not run_dir.is_finished(job.path):
        return False
    stored = json.loads((job.path / VERSIONS).read_text(encoding="utf-8"))["config_sha256"]
    if stored != run_dir.fingerprint(job.cfg):
        raise ValueError(
            f"{job.path}: got a finished run of another configuration, expected that of {job.title}; "
            "choose another run.name, or move that directory away"
        )
    return True


def take(
    overrides: Sequence[str], keys: Sequence[str], reserved: Sequence[str] = ()
) -> tuple[dict[str, str], list[str]]:
    """The values of some keys that are no overrides of a job, and the overrides left.

    Args:
        reserved: keys that the command sets for every run, beside RESERVED.
    Raises:
        ValueError: one of the keys twice, or an override of a reserved one.
    """
    taken: dict[str, str] = {}
    rest = []
    for override in overrides:
        key, _, value = override.partition("=")
        if key in taken:
            raise ValueError(f"{key}: got it twice, expected it once")
        if key in keys:
            taken[key] = value
        else:
            rest.append(override)
    _refuse(rest, reserved)
    return taken, rest


def own_overrides(
    given: Sequence[Sequence[str]], parts: Sequence[str], reserved: Sequence[str] = ()
) -> dict[str, list[str]]:
    """{part: its own overrides}, of every `--for PART KEY=VALUE ...`.

    Args:
        reserved: as take.
    Raises:
        ValueError: an unknown part, no override, or one of a reserved key.
    """
    own: dict[str, list[str]] = {part: [] for part in parts}
    for part, *overrides in given:
        if part not in own or not overrides:
            raise ValueError(
                f"--for: got {' '.join([part, *overrides])}, expected one of {', '.join(parts)} and overrides for it, "
                f"as in --for {parts[0]} actor_rollout_ref.actor.optim.lr=1e-5"
            )
        _refuse(overrides, reserved)
        own[part] += overrides
    return own


def compose_all(overrides_of: Mapping[str, Sequence[str]]) -> dict[str, DictConfig]:
    """{part: checked configuration}, its data checked too.

    Raises:
        ConfigError: with every problem of every part, each problem once.
        ValueError: a model that cannot be had, or rows of data files that cannot be used.
    """
    from verl_vaopd.config import ConfigError, Problem, compose, validate

    configs = {}
    found: dict[Problem, list[str]] = {}
    for part, overrides in overrides_of.items():
        try:
            configs[part] = compose(overrides)
            validate(configs[part])
            require_memory(configs[part])
        except ConfigError as error:
            for problem in error.problems:
                found.setdefault(problem, []).append(part)
    if found:
        raise ConfigError(
            [
                Problem(f"{problem.what} ({', '.join(parts)})", problem.got, problem.expected, problem.fix)
                for problem, parts in found.items()
            ]
        )
    require_models(hub_models(configs.values()))
    for cfg in configs.values():
        require_data(cfg)
    return configs


def print_cautions(configs: Mapping[str, DictConfig]) -> None:
    """What the configurations should say aloud before they start; configs: {part: configuration}."""
    from verl_vaopd.config import cautions

    for part, cfg in configs.items():
        for caution in cautions(cfg):
            print(f"warning: {part}: {caution}")


def directory_of(kind: str, cfg: DictConfig, overrides: Sequence[str], more: object = None) -> Path:
    """`run.root/<kind>-<run.name>`, absolute.

    Without run.name the name is the data set's and a hash of the overrides (but for run.root) and of `more`, a JSON
    value, so that the same command finds its directory again.
    """
    name = cfg.run.name
    if name is None:
        identity = [[override for override in overrides if not override.startswith("run.root=")], more]
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        name = f"{cfg.dataset.name}-{digest[:8]}"
    return Path(cfg.run.root).expanduser().absolute() / f"{kind}-{name}"


def quoted(text: object) -> str:
    """As the value of a Hydra override."""
    return '"' + str(text).replace('"', '\\"') + '"'


def _refuse(overrides: Sequence[str], reserved: Sequence[str]) -> None:
    for override in overrides:
        key = override.partition("=")[0].lstrip("+")
        if key in (*RESERVED, *reserved):
            raise ValueError(
                f"{key}: got {override}, expected it to be left to this command, which sets it for every run; "
                "another run.name starts anew"
            )
