"""Every node of a running Ray cluster sees what a training reads and writes by its path; asked before models load.

The run directory holds checkpoints that the workers write, each its own shard; a directory of the same name on a
node's own disk would take them, and the run could not be resumed.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path

import ray
from omegaconf import DictConfig
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from verl_vaopd.data.files import train_files
from verl_vaopd.trainer.watch import alive_nodes

_TIMEOUT_S = 300.0


def require_shared(config: DictConfig) -> None:
    """Write a file into the run directory and have every node look for it; the same for models and data.

    Raises:
        ValueError: a node does not see one of them.
    """
    nodes = alive_nodes()
    if len(nodes) < 2:
        return
    written = Path(config.run.dir) / f".seen-by-every-node-{uuid.uuid4().hex}"
    written.touch()
    try:
        paths = {"run.root": written} | _local_paths(config)
        asked = {node: _missing_on(node, [str(path) for path in paths.values()]) for node in nodes}
        found = ray.get(list(asked.values()), timeout=_TIMEOUT_S)
    finally:
        written.unlink()
    for node, missing in zip(asked, found, strict=True):
        for key, path in paths.items():
            if str(path) in missing:
                shown = path.parent if path == written else path
                raise ValueError(
                    f"{key}: got {shown}, which the node {nodes[node]} of the Ray cluster does not see as this one; "
                    f"expected storage that all {len(nodes)} nodes share; {key}=DIR with a directory on such storage"
                )


def _local_paths(config: DictConfig) -> dict[str, Path]:
    """{key: path} of what workers read by its path; a model that is an id of the hub is none."""
    models = {key: Path(config[key].path).expanduser() for key in ("student", "teacher")}
    return {
        **{f"{key}.path": path for key, path in models.items() if path.is_dir()},
        "dataset.root": Path(train_files(config)[0]),
    }


def _missing_on(node: str, paths: Sequence[str]) -> ray.ObjectRef:
    """Ask a node which of these are not there."""

    # By the name of its module Ray would import all of trainer/ there.
    @ray.remote(num_cpus=0, max_retries=0)
    def missing() -> list[str]:
        return [path for path in paths if not os.path.exists(path)]

    return missing.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()
