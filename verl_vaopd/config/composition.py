"""Composes the job configuration: verl's defaults, our wiring, recipes, then the command line.

Everything a user can mistype is caught here with the keys or names that were meant. verl's YAML carries no types, so
the type of each default stands in for them. Imports neither torch nor verl, and composes in about a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from verl_vaopd.algorithms.weightings import WEIGHTINGS
from verl_vaopd.config import value_types
from verl_vaopd.config.errors import ConfigError, Problem, closest, closest_keys, listing
from verl_vaopd.config.following import follow
from verl_vaopd.config.overrides import is_group, parse
from verl_vaopd.config.paths import (
    CONFIG_DIR,
    DEFAULTED_GROUPS,
    GROUPS,
    method_with_weighting,
    options,
    recipes_dir,
    verl_config_dir,
)
from verl_vaopd.config.renamed import MASK, MOVED, in_present_words
from verl_vaopd.config.resolvers import register_resolvers
from verl_vaopd.config.schema import WEIGHTING, register_schema

OF_OTHER_COMMANDS = {"stage1": "two-stage", "stage2": "two-stage", "overtrain": "two-stage", "seeds": "compare"}
"""Words that other commands take beside overrides."""


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """The whole job configuration, interpolations unresolved and `run.dir` missing.

    Args:
        overrides: Hydra overrides: `group=option`, `key=value`, `+key=value`, `++key=value`, `~key`.
    Raises:
        ConfigError: unknown key, group option or type, with every such problem of the overrides.
    """
    register_schema()
    register_resolvers()
    parsed = [parse(override) for override in in_present_words(overrides)]
    groups = [override for override in parsed if is_group(override)]
    values = [override for override in parsed if not is_group(override)]
    _raise_if(_group_problems(groups))
    verl = verl_defaults()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        base = _compose(groups)
        known = value_types.flat(base)
        _raise_if([problem for override in values for problem in _value_problems(override, known, verl)])
        cfg = _compose(parsed) if values else base
    _raise_if(value_types.type_problems(value_types.flat(cfg) if values else known, verl))
    weighed = [override for override in parsed if override.key_or_group.split(".")[0] == WEIGHTING]
    if weighed and cfg.loss.divergence is None and cfg.weighting.name != "uniform":
        raise ConfigError(_nothing_to_weigh(weighed))
    entries = (value_types.entries(override.key_or_group, override.value()) for override in values)
    follow(cfg, {key for of_override in entries for key, _ in of_override})
    return cfg


@cache
def verl_defaults() -> Mapping[str, Any]:
    """verl's own configuration, flat: its keys, and the values that stand in for types."""
    with initialize_config_dir(str(verl_config_dir()), version_base="1.3"):
        return value_types.flat(hydra_compose("ppo_trainer"))


def _compose(overrides: Iterable[Override]) -> DictConfig:
    lines = [override.input_line for override in overrides]
    path = ",".join(_quoted(f"file://{directory}") for directory in (recipes_dir(), verl_config_dir()))
    try:
        return hydra_compose("vaopd", [*lines, f"hydra.searchpath=[{path}]"])
    except (HydraException, OmegaConfBaseException) as error:
        causes = [" ".join(str(cause).split()) for cause in (error, error.__cause__) if cause is not None]
        raise ConfigError(
            Problem(
                "Hydra cannot compose the configuration",
                got=" <- ".join(dict.fromkeys(causes)),
                expected="overrides that fit together",
                fix=f"look at: {listing(lines)}",
            )
        ) from error


def _quoted(text: str) -> str:
    """As Hydra's override grammar quotes."""
    return '"' + text.replace('"', '\\"') + '"'


def _raise_if(problems: Sequence[Problem]) -> None:
    if problems:
        raise ConfigError(problems)


def _group_problems(overrides: Sequence[Override]) -> list[Problem]:
    chosen = {override.key_or_group: override for override in overrides}
    problems = []
    for group in GROUPS:
        known = sorted({*options(group), *(WEIGHTINGS if group == WEIGHTING else ())})
        if group not in chosen:
            if group not in DEFAULTED_GROUPS:
                problems.append(
                    Problem(f"no {group} is chosen", "nothing", f"one of {listing(known)}", f"add {group}={known[0]}")
                )
            continue
        option = str(chosen[group].value())
        if option not in known:
            meant = closest(option, known) or known
            problems.append(
                Problem(
                    f"unknown option of the group {group}",
                    got=f"{group}={option}",
                    expected=f"one of {listing(known)}",
                    fix=f"{group}={meant[0]}",
                )
            )
    return problems


def _value_problems(override: Override, known: Mapping[str, Any], verl: Mapping[str, Any]) -> list[Problem]:
    key = override.key_or_group
    adds = override.is_add() or override.is_force_add()
    if key in OF_OTHER_COMMANDS:
        command = OF_OTHER_COMMANDS[key]
        return [
            Problem(
                f"{key} belongs to another command",
                got=override.input_line,
                expected="overrides of one training",
                fix=f"vaopd {command} {override.input_line} ...",
            )
        ]
    if key.startswith(f"{WEIGHTING}.") and (key not in known or key == f"{WEIGHTING}.name"):
        return [_other_weighting(override, known)]
    # Nothing reads a key that our own sections do not have.
    if key not in known and (not adds or value_types.is_ours(key)):
        meant = closest_keys(key, [*known, *GROUPS, *MOVED, MASK])
        fixes = [f"{meant[0]}=..."] if meant else ["see `--cfg job` for all keys"]
        if not value_types.is_ours(key) and not override.is_delete():
            fixes.append(f"+{key}=... to add a key on purpose")
        return [
            Problem(
                f"unknown key {key}",
                got=override.input_line,
                expected="a key of the configuration" + (f"; closest: {listing(meant)}" if meant else ""),
                fix=", or ".join(fixes),
            )
        ]
    if override.is_delete():
        return []
    leaves = value_types.entries(key, override.value())
    problems = (value_types.value_problem(leaf, value, verl) for leaf, value in leaves)
    return [problem for problem in problems if problem is not None]


def _nothing_to_weigh(overrides: Sequence[Override]) -> Problem:
    return Problem(
        "token weights weigh a divergence, and there is none",
        got=f"{listing(override.input_line for override in overrides)}, loss.divergence=null",
        expected="a divergence, or no weighting",
        fix="loss.divergence=reverse_kl, or leave weighting alone",
    )


def _other_weighting(override: Override, known: Mapping[str, Any]) -> Problem:
    """An option that the chosen weighting does not have, and where it belongs."""
    name = override.key_or_group.partition(".")[2]
    chosen = known[f"{WEIGHTING}.name"]
    owners = [owner for owner, cls in WEIGHTINGS.items() if name in cls.__dataclass_fields__]
    if name == "name":
        what, owner = "a weighting is chosen by its group", str(override.value())
    elif owners:
        what, owner = f"{name} is an option of another weighting", owners[0]
    else:
        return Problem(
            f"unknown key {override.key_or_group}",
            got=override.input_line,
            expected=f"an option of the weighting {chosen}",
            fix=listing(f"{key}=..." for key in known if key.startswith(f"{WEIGHTING}.") and not key.endswith(".name"))
            or "leave it out",
        )
    method = method_with_weighting(owner)
    return Problem(
        what,
        got=f"{override.input_line} with {WEIGHTING}={chosen}",
        expected=f"an option of {chosen}; {owner} is the weighting of method={method}",
        fix=f"{WEIGHTING}={owner}, or method={method}, or leave it out",
    )
