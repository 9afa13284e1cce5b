"""Which recipes run when the user names none: chosen by the GPUs of the machine, and by what is installed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from verl_vaopd.config.errors import ConfigError, Problem, listing
from verl_vaopd.config.overrides import is_group, parse
from verl_vaopd.data.generated import EMBEDDED
from verl_vaopd.platform import Gpu, has_flash_attn, probe_gpus

TINY = {"student": "tiny", "teacher": "tiny", "dataset": EMBEDDED}
# The paper's primary setting (arXiv:2605.21924, Sec. 4.1).
PAPER = {"student": "2b", "teacher": "8b", "dataset": "geo3k"}
ONE_GPU = {"h200x1": 130_000, "h100x1": 75_000}
"""Recipes for one GPU, and the least memory in MiB that each is for: 141 and 80 GB."""


def with_default_groups(
    overrides: Sequence[str],
    hardware_probe: Callable[[], Sequence[Gpu]] = probe_gpus,
    flash_attn: Callable[[], bool] = has_flash_attn,
) -> list[str]:
    """The user's overrides, preceded by a default for each group that they do not choose.

    The defaults follow the user's `hardware=` where it is given; the machine is looked at only where it is not. On GPUs
    without flash-attn, which set-up leaves out where it cannot be compiled, attention is `sdpa`.

    Raises:
        ConfigError: no recipe fits these GPUs.
    """
    parsed = [parse(override) for override in overrides]
    chosen = {override.key_or_group: str(override.value()) for override in parsed if is_group(override)}
    hardware = chosen.get("hardware") or _hardware(hardware_probe())
    defaults = {"hardware": hardware, **(TINY if hardware == "cpu" else PAPER)}
    if hardware != "cpu" and not flash_attn():
        defaults["attention"] = "sdpa"
    return [*(f"{group}={option}" for group, option in defaults.items() if group not in chosen), *overrides]


def _hardware(gpus: Sequence[Gpu]) -> str:
    if not gpus:
        return "cpu"
    if len(gpus) >= 8:
        return "a100x8"
    if len(gpus) == 1:
        return _one_gpu(gpus[0])
    # The largest power of two: it divides the rollouts of a step.
    used = 1 << len(gpus).bit_length() - 1
    raise ConfigError(
        Problem(
            "no recipe fits this machine's GPUs",
            got=f"{len(gpus)} GPUs: {listing(gpu.name for gpu in gpus)}",
            expected="none, 1, or 8 and more",
            fix=f"choose yourself, e.g. hardware=a100x8 trainer.n_gpus_per_node={used}",
        )
    )


def _one_gpu(gpu: Gpu) -> str:
    for hardware, least in ONE_GPU.items():
        if gpu.memory_mib >= least:
            return hardware
    raise ConfigError(
        Problem(
            "no recipe fits this machine's GPU",
            got=f"{gpu.name} with {gpu.memory_mib} MiB",
            expected=f"{min(ONE_GPU.values())} MiB or more for the models of the paper",
            fix=f"hardware=h100x1 dataset={EMBEDDED} student=tiny teacher=tiny, or hardware=h100x1 and smaller models",
        )
    )
