"""One Ray for several runs: started with the first, emptied after each, stopped at the end."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from omegaconf import DictConfig, OmegaConf
from ray.util.placement_group import remove_placement_group
from verl.trainer.constants_ppo import get_ppo_ray_runtime_env

from verl_vaopd.config.cluster import running_cluster
from verl_vaopd.platform import forwarded_environment, worker_environment

if TYPE_CHECKING:
    from verl_vaopd.trainer.trainer import DistillationTrainer

LOCK = Path("/tmp/rl-colocate-zmq-vaopd.lock")
"""Beside the sockets that it guards (verl/workers/rollout/vllm_rollout/vllm_rollout.py:141)."""

HOOK = "worker_process_setup_hook"
"""Ray calls it at the start of every worker process of the job."""

QUEUE, QUEUE_NAMESPACE = "TransferQueueController", "transfer_queue"
"""The actor that a cluster can have once (transfer_queue/interface.py:200)."""


@contextlib.contextmanager
def ray_session(configs: Sequence[DictConfig]) -> Iterator[None]:
    """Ray for runs with these configurations, one after the other; they share the settings of the first.

    Raises:
        ValueError: the runs ask for different clusters, or another training runs on this machine.
    """
    addresses = {running_cluster(config) for config in configs}
    if len(addresses) > 1:
        asked = sorted(str(address) for address in addresses)
        raise ValueError(f"ray_kwargs.ray_init.address: got {asked}, expected one cluster for all runs")
    options = ray_options(configs[0], get_ppo_ray_runtime_env(configs[0]))
    if options.get("num_gpus") is not None:
        options["num_gpus"] = max(config.ray_kwargs.ray_init.num_gpus for config in configs)
    with _only_one_here():
        ray.init(**options)
        try:
            yield
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _only_one_here() -> Iterator[None]:
    """Hold LOCK. verl names the sockets that carry new weights to vLLM by Ray's job id, which counts from 1 in every
    cluster: of two clusters on a machine, one would wait for ever, or sample with the other's weights.
    """
    try:
        lock = os.open(LOCK, os.O_RDONLY)  # it may be another user's
    except FileNotFoundError:
        lock = os.open(LOCK, os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                "this machine: got a second training; expected one at a time, as verl 0.9.1 would mix up the weights "
                "of both; wait for the other one, or give each a container with a /tmp of its own"
            ) from error
        yield
    finally:
        os.close(lock)


def require_own_queue() -> None:
    """Call before the queue is started: in a cluster that already has one, TransferQueue would join it.

    Raises:
        ValueError: another training in this Ray cluster has its rollouts there.
    """
    try:
        ray.get_actor(QUEUE, namespace=QUEUE_NAMESPACE)
    except ValueError:
        return
    raise ValueError(
        f"Ray cluster: got one with a {QUEUE}, the queue of another training; expected none, as verl 0.9.1 would hand "
        "each training the other's rollouts; wait for the other one, or start a cluster for each"
    )


def ray_options(config: DictConfig, runtime_env: dict[str, Any]) -> dict[str, Any]:
    """Arguments of ray.init. Without an address a cluster of our own is started, even if another one is running.

    Raises ValueError for a setup hook of the user's beside ours.
    """
    options = OmegaConf.to_container(
        OmegaConf.merge(
            {"runtime_env": runtime_env},
            {"runtime_env": {"env_vars": {"TRANSFER_QUEUE_ENABLE": "1"}}},
            config.ray_kwargs.ray_init,
        )
    )
    options["address"] = running_cluster(config) or "local"
    # Not in the merge, which would take `${PATH}` for a key of the configuration.
    options["runtime_env"]["env_vars"] = worker_environment() | options["runtime_env"]["env_vars"]
    if options["address"] != "local":  # else they inherit it
        if theirs := options["runtime_env"].get(HOOK):
            raise ValueError(
                f"ray_kwargs.ray_init.runtime_env.{HOOK}: got {theirs}, expected none in a running cluster: a job has "
                "one, and this program's hands proxies and tokens to the workers; leave it out, and have verl import "
                "your module: +ray_kwargs.ray_init.runtime_env.env_vars.VERL_USE_EXTERNAL_MODULES=MODULE"
            )
        options["runtime_env"][HOOK] = _setting(forwarded_environment())
    return options


def _setting(variables: dict[str, str]) -> Callable[[], None]:
    """What sets environment variables in a worker before it does anything.

    A closure, which Ray pickles with its values into the cluster's table of functions: unlike `env_vars` of
    runtime_env, nothing there is written to a log or shown.
    """

    def set_variables() -> None:
        os.environ.update(variables)

    return set_variables


def release(trainer: DistillationTrainer | None) -> None:
    """Free what a run has started: its actors, and the placement groups of its pools.

    Named actors of this job's own namespace are all looked at: a cluster may serve other jobs.

    Args:
        trainer: set up, or only in part where that failed.
    """
    for name in ray.util.list_named_actors():
        with contextlib.suppress(ValueError):  # it has ended meanwhile
            ray.kill(ray.get_actor(name))
    servers = getattr(trainer, "llm_server_manager", None)
    if servers is not None:
        # The one actor without a name; its handles outlive the trainer in reference cycles, and it holds 0.8 GB.
        ray.kill(servers.global_load_balancer)
    pools = getattr(trainer, "resource_pool_manager", None)
    if pools is None:
        return
    for pool in pools.resource_pool_dict.values():
        for group in pool.pgs or []:
            remove_placement_group(group)
