"""`vaopd doctor`: what is installed, what hardware is here, whether the plugins are in place. Imports no torch."""

import importlib.metadata
import platform

from verl_vaopd.config import with_default_groups
from verl_vaopd.platform import is_cpu, verify_registration
from verl_vaopd.provenance import hardware, package_versions, source_version

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


def import_everything() -> None:
    """Import torch, verl and vLLM as a training process does, and check that the plugins are registered.

    Raises what the imports or the check raise.
    """
    import torch
    import verl

    verify_registration()
    print(f"imports\n  torch {torch.__version__}, verl {verl.__version__}: plugins registered")
