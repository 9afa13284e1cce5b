"""The machine and its environment: versions against the lock, the driver under them, ports."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import re
import socket
from pathlib import Path

from omegaconf import DictConfig

import verl_vaopd
from verl_vaopd.config.errors import Findings, listing
from verl_vaopd.config.preflight import NotMeasured
from verl_vaopd.platform import driver_version, has_cpu_vllm
from verl_vaopd.provenance import PACKAGES

OLDEST_DRIVER = 580
"""The first whose CUDA is 13, for which the locked torch and vLLM are built (launch/gpu_checks.sh)."""
NUM_PORTS = 64
"""More than Ray, verl's process groups and vLLM's servers open on one machine."""
_PIN = re.compile(r"^([\w.-]+)==([^\s;\\]+)", re.MULTILINE)


def versions(cfg: DictConfig, findings: Findings) -> str:
    """What is installed is what the lock says; only packages that results depend on count."""
    stack = "cpu" if has_cpu_vllm() else "gpu"
    lock = Path(verl_vaopd.__file__).parents[1] / "requirements" / f"{stack}.txt"
    if not lock.is_file():
        return NotMeasured("this package does not run from a clone with requirements/")
    num_pins, others = _other_versions(lock)
    counted = [name for name in others if name in {package.lower() for package in PACKAGES}]
    findings.require(
        not counted,
        "other versions than the lock's",
        got=listing(f"{name} {others[name][0]}" for name in counted),
        expected=listing(f"{name} {others[name][1]}" for name in counted) + f" (requirements/{stack}.txt)",
        fix="bash launch/setup.sh, which installs what the lock says",
    )
    rest = listing(f"{name} {found} (lock: {pinned})" for name, (found, pinned) in sorted(others.items()))
    return f"{num_pins - len(others)} of {num_pins} packages as in requirements/{stack}.txt" + (
        f"; not {rest}" if rest else ""
    )


@functools.cache
def _other_versions(lock: Path) -> tuple[int, dict[str, tuple[str, str]]]:
    """Number of pins, and of packages that are not as pinned what is installed and what the lock says."""
    pins = {name.lower(): version for name, version in _PIN.findall(lock.read_text(encoding="utf-8"))}
    others = {}
    for name, version in pins.items():
        found = "not installed"
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found = importlib.metadata.version(name)
        if found != version and not (name == "flash-attn" and found == "not installed"):  # chosen by set-up
            others[name] = found, version
    return len(pins), others


def drivers(cfg: DictConfig, findings: Findings) -> str:
    """The GPU driver runs the CUDA that the stack is built for."""
    told = _libraries()
    if cfg.trainer.device == "cpu":
        return NotMeasured(f"no GPU asked for; {told}")
    version = driver_version()
    if version is None:
        return NotMeasured(f"no GPU answers on this machine; {told}")
    major = version.partition(".")[0]
    findings.require(
        major.isdigit() and int(major) >= OLDEST_DRIVER,
        "the NVIDIA driver is too old for CUDA 13",
        got=f"driver {version}",
        expected=f"{OLDEST_DRIVER} or newer",
        fix="install a newer driver; with CUDA 13's forward-compatibility package, preflight.waive=[drivers]",
    )
    return f"driver {version}; {told}"


@functools.cache
def _libraries() -> str:
    """NCCL, CUDA's runtime and Ray, as far as they are installed; the former have CUDA's version in their names."""
    return listing(
        sorted(
            f"{each.name} {each.version}"
            for each in importlib.metadata.distributions()
            if each.name == "ray" or (each.name or "").startswith(("nvidia-nccl", "nvidia-cuda-runtime"))
        )
    )


def ports(cfg: DictConfig, findings: Findings) -> str:
    """Ray, the process groups and vLLM can open ports where they will: at this machine's address."""
    address, problem = "127.0.0.1", ""
    with contextlib.suppress(OSError):
        address = socket.gethostbyname(socket.gethostname())
    with contextlib.ExitStack() as stack:
        try:
            for _ in range(NUM_PORTS):
                stack.enter_context(socket.socket()).bind((address, 0))
        except OSError as error:
            problem = f"{address}: {error.strerror}"
    findings.require(
        not problem,
        "no free ports",
        got=problem,
        expected=f"{NUM_PORTS} free ports at this machine's own address",
        fix="end what holds them; an address that this machine does not have is in /etc/hosts beside its name",
    )
    return f"{NUM_PORTS} ports opened at {address}"
