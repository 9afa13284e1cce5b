"""Ranges and choices of our own keys: those that the options themselves state."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from verl_vaopd.config.errors import Findings
from verl_vaopd.config.schema import all_options


def check_options(cfg: DictConfig, findings: Findings) -> None:
    """Every option that the configuration has; keys that are not filled in yet are passed over."""
    for key, known, default in all_options(cfg.weighting.name):
        if not (known.words or known.is_number) or OmegaConf.is_missing(cfg[key.split(".")[0]], key.split(".")[1]):
            continue
        value = OmegaConf.select(cfg, key)
        follows = str(default).startswith("${")  # another option: what it follows is told by itself
        instead = known.instead_of(value, None if follows else default)
        shown = "null" if instead is None else instead
        findings.require(
            known.allows(value),
            f"unknown {key}" if known.words else f"{key} is out of range",
            got=f"{key}={value}" if known.words else value,
            expected=known.expected,
            fix=f"{key}={shown}" if known.words else f"e.g. {key}={shown}",
        )
