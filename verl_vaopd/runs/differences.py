"""What differs between the first launch of a run and a later one, in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

_MOST_LISTED = 10


def of_configuration(
    path: Path, now: DictConfig, then: DictConfig | ListConfig, ignored: Sequence[str], ranks: Sequence[str]
) -> str:
    """Why a run directory cannot be resumed with this configuration.

    Args:
        path: of the run.
        now, then: configurations, resolved.
        ignored: sections and keys that may differ.
        ranks: keys that say how many ranks the student has.
    """
    here, there = (_flat(OmegaConf.to_container(configuration)) for configuration in (now, then))
    keys = {key for key in here.keys() | there.keys() if not {key, key.partition(".")[0]} & set(ignored)}
    differing = sorted(key for key in keys if here.get(key) != there.get(key))
    lines = [
        f"run.name: got {path.name!r}, whose run in {path} has another configuration; expected the same one "
        "to resume it, or a new name, or run.fresh=true",
        *(f"  {key}: {there.get(key, '(absent)')} there, {here.get(key, '(absent)')} now" for key in differing),
    ][: _MOST_LISTED + 1]
    if len(differing) > _MOST_LISTED:
        lines.append(f"  and {len(differing) - _MOST_LISTED} more")
    if not set(differing).isdisjoint(ranks):
        lines.append(
            "verl's checkpoints have a shard for each of the student's GPUs and resume on the same number alone; to "
            "train on with another one, write the weights as a model, `vaopd export "
            f"{path} --checkpoint last --dtype float32`, and begin a new run with it as student.path (its optimizer "
            "begins anew)"
        )
    return "\n".join(lines)


def changed_files(first: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Data files whose content, or whose images, are not what they were; launches of older versions did not say.

    Args:
        first, now: records of two launches (run_dir.describe).
    """
    return [file for file, content in now["data"].items() if first.get("data", now["data"])[file] != content]


def of_data(path: Path, files: Sequence[str]) -> str:
    """Why a run directory is not resumed with other data."""
    return (
        f"run in {path}: got other data than it began with, in {', '.join(files)} or the images named there; expected "
        "the same content; bring it back, start anew with run.fresh=true, or go on with the changed data: "
        "run.changed_data=true, which is recorded in launches.jsonl"
    )


def of_software(first: dict[str, Any], now: dict[str, Any]) -> tuple[str, ...]:
    """One line for Python, for the commit and for every package that is another one; arguments as changed_files."""
    before, after = (
        {"python": record["python"], "commit": record["source"]["commit"], **record["packages"]}
        for record in (first, now)
    )
    return tuple(
        f"{name}: {before.get(name)} at the start, {after.get(name)} now"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    )


def _flat(container: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(container, dict):
        return {prefix: container}
    return {
        name: leaf
        for key, value in container.items()
        for name, leaf in _flat(value, f"{prefix}.{key}" if prefix else str(key)).items()
    }
