"""One Ray for several runs: started with the first, emptied after each, stopped at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import ray
from omegaconf import DictConfig, OmegaConf
from ray.util.placement_group import remove_placement_group
from verl.single_controller.ray.base import ResourcePoolManager
from verl.trainer.constants_ppo import get_ppo_ray_runtime_env


@contextlib.contextmanager
def ray_session(configs: Sequence[DictConfig]) -> Iterator[None]:
    """Ray for runs with these configurations, one after the other; they share the settings of the first.

    Raises:
        ValueError: the runs ask for different clusters.
    """
    addresses = {str(config.ray_kwargs.ray_init.address) for config in configs}
    if len(addresses) > 1:
        raise ValueError(f"ray_kwargs.ray_init.address: got {sorted(addresses)}, expected one cluster for all runs")
    options = ray_options(configs[0], get_ppo_ray_runtime_env(configs[0]))
    if options.get("num_gpus") is not None:
        options["num_gpus"] = max(config.ray_kwargs.ray_init.num_gpus for config in configs)
    ray.init(**options)
    try:
        yield
    finally:
        ray.shutdown()


def ray_options(config: DictConfig, runtime_env: dict[str, Any]) -> dict[str, Any]:
    """Arguments of ray.init. Without an address a cluster of our own is started, even if another one is running."""
    options = OmegaConf.merge(
        {"runtime_env": runtime_env},
        {"runtime_env": {"env_vars": {"TRANSFER_QUEUE_ENABLE": "1"}}},
        config.ray_kwargs.ray_init,
    )
    if options.address is None:
        options.address = "local"
    return OmegaConf.to_container(options)


def release(pools: ResourcePoolManager | None) -> None:
    """Free what a run has started: its actors, and the placement groups of its pools.

    Only named actors of this job's own namespace are looked at: a cluster may serve other jobs.
    """
    for name in ray.util.list_named_actors():
        with contextlib.suppress(ValueError):  # it has ended meanwhile
            ray.kill(ray.get_actor(name))
    if pools is None:
        return
    for pool in pools.resource_pool_dict.values():
        for group in pool.pgs or []:
            remove_placement_group(group)
