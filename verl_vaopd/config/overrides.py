"""Overrides of the command line, read as Hydra reads them."""

from __future__ import annotations

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from verl_vaopd.config.errors import ConfigError, Problem
from verl_vaopd.config.paths import GROUPS, verl_config_dir


def parse(override: str) -> Override:
    """One override, read as Hydra reads it. Raises ConfigError."""
    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException as error:
        raise ConfigError(
            Problem(
                f"cannot read the override {override!r}",
                got=" ".join(str(error).split()),
                expected="key=value, group=option, +key=value, ++key=value or ~key",
                fix="quote special characters for the shell and for Hydra: 'key=\"a,b=c\"'",
            )
        ) from error
    if parsed.is_sweep_override() or parsed.is_hydra_override():
        raise ConfigError(
            Problem(
                f"cannot use the override {override!r}",
                got="a sweep over several values" if parsed.is_sweep_override() else "a setting of Hydra's own",
                expected="one value of one key of the job; runs are placed by run.root and run.name",
                fix="`vaopd compare` trains several methods and seeds; write lists as 'key=[a,b]', and quote commas "
                "that belong to a value"
                if parsed.is_sweep_override()
                else "leave it out",
            )
        )
    return parsed


def is_group(override: Override) -> bool:
    """Whether it chooses a group's option, ours or verl's, rather than setting a value."""
    key = override.key_or_group
    return key in GROUPS or (override.package is not None) or (verl_config_dir() / key).is_dir()
