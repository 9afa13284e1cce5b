"""Keys that were documented under another name and stay valid: overrides in their present words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from verl_vaopd.config.errors import as_written
from verl_vaopd.config.overrides import parse
from verl_vaopd.config.paths import weighting_of_method
from verl_vaopd.config.schema import WEIGHTING

SWITCHES = ("vaopd.rollout_weighting", "vaopd.token_grouping")
"""Both were off in every method that does not weigh by visual advantage, and either could be switched on there."""
_OF_THE_WEIGHTING = ("high_coef", "temperature", "eps", "rollout_weighting", "token_grouping", "rollout_shrinkage")
MOVED = {f"vaopd.{name}": f"{WEIGHTING}.{name}" for name in _OF_THE_WEIGHTING} | {
    "vaopd.mask_frac": f"{WEIGHTING}.frac"
}
"""Old key -> new key."""
MASK = "vaopd.mask"
"""It chose which tokens Standard OPD leaves out, and with it the weighting; null: none."""


def in_present_words(overrides: Sequence[str]) -> list[str]:
    """The overrides with every old key replaced. Raises ConfigError for one that cannot be read."""
    words = [word for override in overrides for word in _single_keys(override)]
    given = {key.lstrip("+"): value for key, _, value in (word.partition("=") for word in words)}
    own = weighting_of_method(given.get("method", "vaopd"))
    chosen: list[str] = []
    gone: set[str] = set()
    if (which := given.get(MASK)) is not None:
        if which != "null":
            chosen = [f"{WEIGHTING}=masked", f"{WEIGHTING}.which={which}"]
        elif own.startswith("masked"):
            chosen = [f"{WEIGHTING}=uniform"]
        gone = {MASK, *(switch for switch in SWITCHES if which != "null" and given.get(switch) == "false")}
    elif own.startswith("masked"):
        gone = {switch for switch in SWITCHES if given.get(switch) == "false"}
    elif own == "uniform" and WEIGHTING not in given:
        gone = set(SWITCHES)
        if "true" in (given.get(switch) for switch in SWITCHES):
            switches = [f"{MOVED[switch]}={given.get(switch, 'false')}" for switch in SWITCHES]
            chosen = [f"{WEIGHTING}=visual_advantage", *switches]
    # First, so that what the person says of the weighting itself holds.
    return [*chosen, *(_renamed(word) for word in words if word.partition("=")[0].lstrip("+") not in gone)]


def _single_keys(override: str) -> list[str]:
    """`vaopd={a: 1, b: 2}` as `vaopd.a=1`, `vaopd.b=2`; any other override as it is."""
    if not override.lstrip("+").startswith("vaopd="):
        return [override]
    value = parse(override).value()
    if not isinstance(value, Mapping):
        return [override]
    return [f"vaopd.{name}={as_written(each)}" for name, each in value.items()]


def _renamed(word: str) -> str:
    prefix = word[: len(word) - len(word.lstrip("+~"))]
    key, equals, value = word[len(prefix) :].partition("=")
    return f"{prefix}{MOVED.get(key, key)}{equals}{value}"
