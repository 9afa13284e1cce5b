"""Keys that were documented under another name and stay valid: overrides in their present words."""

from __future__ import annotations

from collections.abc import Sequence

from verl_vaopd.config.schema import WEIGHTING

_OF_THE_WEIGHTING = ("high_coef", "temperature", "eps", "rollout_weighting", "token_grouping", "rollout_shrinkage")
MOVED = {f"vaopd.{name}": f"{WEIGHTING}.{name}" for name in _OF_THE_WEIGHTING} | {
    "vaopd.mask_frac": f"{WEIGHTING}.frac"
}
"""Old key -> new key."""
MASK = "vaopd.mask"
"""It chose which tokens Standard OPD leaves out, and with it the weighting; null: none."""


def in_present_words(overrides: Sequence[str]) -> list[str]:
    """The overrides with every old key replaced."""
    result = []
    for override in overrides:
        key, equals, value = override.partition("=")
        if equals and key == MASK:
            result += [] if value == "null" else [f"{WEIGHTING}=masked", f"{WEIGHTING}.which={value}"]
        else:
            result.append(f"{MOVED.get(key, key)}{equals}{value}")
    return result
