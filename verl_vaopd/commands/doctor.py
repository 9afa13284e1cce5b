"""`vaopd doctor`: what is here, and whether a training of these overrides would start. Imports no torch.

The checks are those of `vaopd train`. With --run the models are started too, and checked as before a first step.
"""

import importlib.metadata
import os
import platform
import tempfile
from collections.abc import Sequence

from verl_vaopd.commands import supervisor
from verl_vaopd.commands.checks import as_events, memory, memory_problem
from verl_vaopd.commands.console import Console
from verl_vaopd.commands.data import require_data
from verl_vaopd.config import compose, examine, validate, with_default_groups
from verl_vaopd.config.preflight import FAILED
from verl_vaopd.model_weights import fetch_models, hub_models, require_models
from verl_vaopd.platform import is_cpu, verify_registration
from verl_vaopd.provenance import hardware, package_versions, source_version
from verl_vaopd.rollout.row_check import record_left_out
from verl_vaopd.runs import run_dir

# setup.py registers these; verl and vLLM find them by their group.
ENTRY_POINTS = (
    ("verl.plugins", "vaopd"),
    ("vllm.platform_plugins", "vaopd_cpu"),
    ("vllm.general_plugins", "vaopd_cpu_live_weights"),
)


def describe() -> str:
    """The report as text."""
    machine, source = hardware(), source_version()
    commit = source["reason"] or f"{source['commit']}{' with changes' if source['dirty'] else ''}"
    lines = [
        "software",
        f"  python {platform.python_version()}, {platform.platform()}",
        f"  verl_vaopd source: {commit}",
        *(f"  {name} {version or '(not installed)'}" for name, version in package_versions().items()),
        "hardware",
        f"  {machine['cpu']}, {machine['cpu_cores']} cores, {machine['memory_gib']} GiB memory",
        *(f"  GPU {number}: {gpu}" for number, gpu in enumerate(machine["gpus"])),
        *(["  no GPU"] if not machine["gpus"] else []),
        f"  `vaopd train` without overrides means: {' '.join(with_default_groups([]))}",
        "plugins",
    ]
    for group, name in ENTRY_POINTS:
        found = importlib.metadata.entry_points(group=group, name=name)
        lines.append(f"  {group}: {name} {'registered' if found else 'MISSING; reinstall this package'}")
    lines.append(f"  CPU platform {'active' if is_cpu() else 'not active in this process (hardware=cpu activates it)'}")
    return "\n".join(lines)


def check(overrides: Sequence[str]) -> int:
    """Print every check that starts nothing, and the problems.

    Returns: exit code, 1 where a training would not start.
    Raises:
        ValueError: overrides that no configuration can be composed of.
    """
    cfg, console = compose(with_default_groups(overrides)), Console()
    found, findings = examine(cfg)
    estimated = memory(cfg)
    if estimated.outcome(cfg.preflight.waive) == FAILED:
        findings.problems.append(memory_problem(estimated))
    for event in as_events([*found, estimated], cfg.preflight.waive):
        console.show(event)
    for problem in findings.problems:
        console.print(f"\n{problem}")
    return 1 if findings.problems else 0


def check_running(overrides: Sequence[str], command_line: Sequence[str]) -> int:
    """Start what a training starts, check it, and end before the first step; the run directory is not kept.

    Returns: exit code of supervisor.run.
    Raises:
        ValueError: as `vaopd train`.
    """
    with tempfile.TemporaryDirectory(prefix="vaopd-doctor-") as root:
        own = [*overrides, f"run.root={root}", "preflight.only=true"]
        cfg = compose(with_default_groups(own))
        validate(cfg)
        models = hub_models([cfg])
        require_models(models)
        require_data(cfg)
        fetch_models(models)
        run = run_dir.prepare(cfg, own, command_line)
        record_left_out(cfg, run.path)
        try:
            return supervisor.run(run, Console())
        finally:
            os.close(run.lock)


def import_everything() -> None:
    """Import torch, verl and vLLM as a training process does, and check that the plugins are registered.

    Raises what the imports or the check raise.
    """
    import torch
    import verl

    verify_registration()
    print(f"imports\n  torch {torch.__version__}, verl {verl.__version__}: plugins registered")
