"""Which Ray cluster a training runs in. Imports no Ray."""

from __future__ import annotations

import os

from omegaconf import DictConfig


def running_cluster(cfg: DictConfig) -> str | None:
    """Address of the running Ray cluster that is used: the configuration's, else RAY_ADDRESS, Ray's own variable, which
    a Ray job and launch/slurm.sh set. None: the training starts one of its own (`local` says so too).
    """
    address = cfg.ray_kwargs.ray_init.address or os.environ.get("RAY_ADDRESS")
    return None if address == "local" else address or None
