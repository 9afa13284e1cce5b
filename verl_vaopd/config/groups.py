"""Which recipes run when the user names none: chosen by the GPUs of the machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from verl_vaopd.config.errors import ConfigError, Problem, listing
from verl_vaopd.config.overrides import is_group, parse
from verl_vaopd.data.generated import EMBEDDED
from verl_vaopd.platform import probe_gpus

TINY = {"student": "tiny", "teacher": "tiny", "dataset": EMBEDDED}
# The paper's primary setting (arXiv:2605.21924, Sec. 4.1).
PAPER = {"student": "2b", "teacher": "8b", "dataset": "geo3k"}


def gpu_names() -> list[str]:
    """Names of the GPUs that this process may use."""
    return [gpu.name for gpu in probe_gpus()]


def with_default_groups(overrides: Sequence[str], gpu_names: Callable[[], Sequence[str]] = gpu_names) -> list[str]:
    """The user's overrides, preceded by a default for each group that they do not choose.

    The defaults follow the user's `hardware=` where it is given; the machine is looked at only where it is not.

    Raises:
        ConfigError: no recipe fits this number of GPUs.
    """
    parsed = [parse(override) for override in overrides]
    chosen = {override.key_or_group: str(override.value()) for override in parsed if is_group(override)}
    defaults = _defaults(chosen, [] if "hardware" in chosen else gpu_names())
    return [*_lines({group: option for group, option in defaults.items() if group not in chosen}), *overrides]


def _defaults(chosen: dict[str, str], gpu_names: Sequence[str]) -> dict[str, str]:
    hardware = chosen.get("hardware") or _hardware(gpu_names)
    return {"hardware": hardware, **(TINY if hardware == "cpu" else PAPER)}


def _hardware(gpu_names: Sequence[str]) -> str:
    count = len(gpu_names)
    if count == 0:
        return "cpu"
    if count == 1:
        return "h200x1"
    if count >= 8:
        return "a100x8"
    raise ConfigError(
        Problem(
            "no recipe fits this machine's GPUs",
            got=f"{count} GPUs: {listing(gpu_names)}",
            expected="none, 1, or 8 and more",
            fix=f"choose yourself, e.g. hardware=a100x8 trainer.n_gpus_per_node={count}",
        )
    )


def _lines(options: dict[str, str]) -> list[str]:
    return [f"{group}={option}" for group, option in options.items()]
