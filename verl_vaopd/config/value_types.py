"""Whether a value fits the type of its key.

Types come from two places: our own keys have dataclasses (schema.py); verl's YAML has defaults only, so a value must
be of its default's type. A null default says nothing, and neither does a key that verl's YAML does not have.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from verl_vaopd.algorithms.options import options_of
from verl_vaopd.algorithms.weightings import WEIGHTINGS
from verl_vaopd.config.errors import Problem, listing
from verl_vaopd.config.schema import SECTIONS, WEIGHTING

REAL_VALUED = (
    "actor_rollout_ref.actor.entropy_coeff",
    "actor_rollout_ref.rollout.over_sample_rate",
    "actor_rollout_ref.rollout.top_p",
    "actor_rollout_ref.rollout.val_kwargs.temperature",
    "reward.reward_model.rollout.top_p",
)
"""Real numbers whose default verl wrote as an integer (by its dataclasses)."""
ONE_OR_MORE = ("data.train_files", "data.val_files", "actor_rollout_ref.model.target_modules")
"""Text of which verl takes a list as well."""
NULLABLE = (
    "actor_rollout_ref.actor.optim.lr_warmup_steps",
    "actor_rollout_ref.actor.optim.min_lr_ratio",
    "actor_rollout_ref.actor.profiler.save_path",
    "actor_rollout_ref.model.target_modules",
    "actor_rollout_ref.ref.profiler.save_path",
    "actor_rollout_ref.rollout.checkpoint_engine.backend",
    "actor_rollout_ref.rollout.logprobs_mode",
    "actor_rollout_ref.rollout.profiler.save_path",
    "actor_rollout_ref.rollout.prometheus.served_model_name",
    "actor_rollout_ref.rollout.scheduling_policy",
    "actor_rollout_ref.rollout.trace.experiment_name",
    "actor_rollout_ref.rollout.trace.project_name",
    "algorithm.filter_groups.metric",
    "critic.model.target_modules",
    "critic.optim.lr_warmup_steps",
    "critic.optim.min_lr_ratio",
    "critic.profiler.save_path",
    "distillation.distillation_loss.topk",
    "distillation.teacher_models.teacher_model.num_replicas",
    "global_profiler.save_path",
    "reward.reward_manager.module.name",
    "reward.reward_model.rollout.scheduling_policy",
)
"""May be null although their default is not (by verl's dataclasses)."""

_NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "text", list: "a list", dict: "a mapping"}


def flat(cfg: DictConfig) -> dict[str, Any]:
    """Every key of the tree, dotted, with its resolved value: {} for a mapping that has keys of its own below it.

    A value that is missing or cannot be resolved yet (it hangs on `run.dir`) is None.
    """
    return dict(_walk(cfg, ""))


def _walk(node: DictConfig, prefix: str) -> Iterator[tuple[str, Any]]:
    for name in node:
        key = prefix + str(name)
        try:
            value = node[name]
        except OmegaConfBaseException:
            value = None
        if not isinstance(value, DictConfig):
            yield key, OmegaConf.to_container(value, resolve=True) if OmegaConf.is_list(value) else value
        else:
            yield key, {}
            yield from _walk(value, f"{key}.")


def entries(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The value of an override as (dotted key, value) pairs; an empty mapping is one."""
    if isinstance(value, Mapping) and value:
        for name, child in value.items():
            yield from entries(f"{key}.{name}", child)
    else:
        yield key, value


def is_ours(key: str) -> bool:
    """Whether the key belongs to this project rather than to verl."""
    return key.split(".")[0] in (*SECTIONS, WEIGHTING) or key == "wandb"


def value_problem(key: str, value: Any, verl: Mapping[str, Any]) -> Problem | None:
    """What is wrong with giving this value to this key, if anything.

    Args:
        verl: `flat` of verl's own configuration.
    """
    if isinstance(value, str) and "${" in value:
        return None
    return _typed_problem(key, value) if is_ours(key) else _untyped_problem(key, value, verl.get(key))


def type_problems(cfg: Mapping[str, Any], verl: Mapping[str, Any]) -> list[Problem]:
    """Every value of a composed configuration (`flat`) that is not of the type of verl's default.

    None is let pass: it stands for what cannot be resolved yet, too.
    """
    checked = ((key, value) for key, value in cfg.items() if value is not None and not is_ours(key))
    problems = (_untyped_problem(key, value, verl.get(key)) for key, value in checked)
    return [problem for problem in problems if problem is not None]


def _typed_problem(key: str, value: Any) -> Problem | None:
    section, _, name = key.partition(".")
    if not name:
        if section == "wandb":
            return None if isinstance(value, bool) else _mismatch(key, value, _NAMES[bool])
        return None if isinstance(value, Mapping) else _mismatch(key, value, _NAMES[dict])
    possible = WEIGHTINGS.values() if section == WEIGHTING else [SECTIONS[section]]
    cls = next((cls for cls in possible if name in typing.get_type_hints(cls)), None)
    if cls is None:
        return None  # not a key of ours: reported as unknown by Hydra or by the caller
    hint = typing.get_type_hints(cls)[name]
    try:
        OmegaConf.update(OmegaConf.structured(cls), name, value)
    except OmegaConfBaseException:
        default = dict((known, each) for known, _, each in options_of(cls))[name]
        return _mismatch(key, value, _describe(hint), default)
    return None


def _untyped_problem(key: str, value: Any, default: Any) -> Problem | None:
    if default is None or (value is None and key in NULLABLE) or _fits(key, value, default):
        return None
    kind = float if key in REAL_VALUED else type(default)
    return _mismatch(key, value, f"{_NAMES[kind]} (verl's default is {_show(default)})", default)


def _fits(key: str, value: Any, default: Any) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float) or key in REAL_VALUED:
        return isinstance(value, int | float)
    if isinstance(default, str) and key in ONE_OR_MORE and isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    if isinstance(default, list) and isinstance(value, list) and default:
        return all(_fits(key, item, default[0]) for item in value)
    return isinstance(value, type(default))


def _mismatch(key: str, value: Any, expected: str, default: Any = ()) -> Problem:
    """The problem; default: of a key that takes a list, the one to start from."""
    is_one = not isinstance(value, list | dict) and value is not None
    fix = f"give {key} a value of that type"
    if expected.startswith(_NAMES[list]):
        # A pair, as AdamW's betas, stays one.
        items = [value, *default[1:]] if is_one and all(isinstance(each, float) for each in default) else [value]
        fix = f"quoted for the shell, '{key}=[{listing(map(str, items if is_one else default))}]'"
    elif expected.startswith(_NAMES[dict]):
        fix = f"set the keys in it, {key}.KEY=..."
    elif isinstance(value, list) and len(value) == 1:
        fix = f"{key}={value[0]}"
    elif expected.startswith(_NAMES[str]) and is_one:
        fix = f"quote it for Hydra and for the shell: '{key}=\"{value}\"'"
    got = "null" if value is None else f"{_show(value)}, {_NAMES[type(value)]}"
    return Problem(f"wrong type for {key}", got, expected, fix)


def _describe(hint: Any) -> str:
    if typing.get_origin(hint) is list:
        return f"{_NAMES[list]} of {_NAMES[typing.get_args(hint)[0]]}"
    alternatives = typing.get_args(hint) or (hint,)
    return " or ".join(_NAMES.get(alternative, "null") for alternative in alternatives)


def _show(value: Any) -> str:
    return "null" if value is None else repr(value)
