"""Where configuration files are: ours, the recipes, and verl's, found without importing verl."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path

from verl_vaopd.config.errors import ConfigError, Problem

PACKAGE_DIR = Path(__file__).resolve().parents[1]
CONFIG_DIR = PACKAGE_DIR / "config"
ASSETS_DIR = PACKAGE_DIR / "assets"
GROUPS = ("method", "student", "teacher", "dataset", "hardware", "attention", "weighting")
DEFAULTED_GROUPS = ("method", "attention", "weighting")
"""Those that vaopd.yaml chooses an option of."""


def recipes_dir() -> Path:
    """The directory of the recipe groups: verl_vaopd/recipes where installed, recipes/ in a checkout."""
    installed = PACKAGE_DIR / "recipes"
    return installed if installed.is_dir() else PACKAGE_DIR.parent / "recipes"


def options(group: str) -> list[str]:
    """Names of a group's recipes."""
    return sorted(path.stem for path in (recipes_dir() / group).glob("*.yaml"))


def weighting_of_method(method: str) -> str:
    """The option of the group `weighting` that a method's recipe chooses; the default where it chooses none."""
    path = recipes_dir() / "method" / f"{method}.yaml"
    found = re.search(r"override /weighting: (\w+)", path.read_text(encoding="utf-8")) if path.is_file() else None
    return found[1] if found else "visual_advantage"


def method_with_weighting(weighting: str) -> str:
    """The method of VA-OPD's weighting, or the first whose recipe chooses another one."""
    methods = ("vaopd", *options("method"))
    return next((method for method in methods if weighting_of_method(method) == weighting), "opd")


@cache
def verl_config_dir() -> Path:
    """verl's own Hydra configuration.

    Raises:
        ConfigError: if verl is not installed.
    """
    spec = importlib.util.find_spec("verl")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            Problem(
                "verl is not installed in this environment",
                got="no package named verl",
                expected="verl 0.9.1, whose configuration this project extends",
                fix="run `make setup`, then use .venv/bin/vaopd or launch/run_vaopd.sh",
            )
        )
    return Path(spec.submodule_search_locations[0]) / "trainer" / "config"
