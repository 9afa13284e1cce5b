"""Which settings would make a job fit that does not: found by trying them, so what is suggested fits itself."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from verl_vaopd.config.following import longest_rollout, longest_scored
from verl_vaopd.planning.gpus import CPU
from verl_vaopd.planning.memory import POOL, ROLLOUT, SCORING, UPDATE, WEIGHTS, Memory
from verl_vaopd.planning.plan import Plan, predict

Changes = dict[str, Any]
_FSDP = "actor_rollout_ref.actor.fsdp_config"
_SHARE = "actor_rollout_ref.rollout.gpu_memory_utilization"
_GPUS = "trainer.n_gpus_per_node"
_SHARES = (0.5, 0.4, 0.3, 0.2, 0.15, 0.1)
_GPUS_OF_A_MACHINE = (2, 4, 8)


def advise(cfg: DictConfig, plan: Plan) -> list[str]:
    """Overrides with which a job that does not fit would, as few as there are; none where none were found.

    Args:
        cfg: of the plan.
    """
    changes: Changes = {}
    current, memory = cfg, plan.memory
    while not memory.fits:
        found = next((lever for lever in _levers(current, memory, plan) if not lever.items() <= changes.items()), None)
        if found is None:
            return []
        changes |= found
        current = _changed(cfg, changes)
        memory = _memory(current, plan)
    for key in list(changes):  # those that a later one has made needless
        fewer = {name: value for name, value in changes.items() if name != key}
        if _memory(_changed(cfg, fewer), plan).fits:
            changes = fewer
    return [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in changes.items()]


def _levers(cfg: DictConfig, memory: Memory, plan: Plan) -> Iterator[Changes]:
    """What would help the phase that is worst off, the cheapest first."""
    teacher, actor, rollout = cfg.teacher, cfg.actor_rollout_ref.actor, cfg.actor_rollout_ref.rollout
    if plan.gpu.name == CPU:
        return
    over = memory.total(memory.peak) > memory.limit
    share = rollout.gpu_memory_utilization
    if not over:  # vLLM's cache is too small
        yield from ({_SHARE: larger} for larger in reversed(_SHARES) if larger > share)
    phase = memory.peak if over else ROLLOUT
    can_offload = teacher.placement == "colocated" and teacher.strategy == "fsdp2" and teacher.ema_decay is None
    if phase in (ROLLOUT, SCORING, UPDATE, WEIGHTS) and can_offload and not teacher.param_offload:
        yield {"teacher.param_offload": True}
    budget = "actor_rollout_ref.actor.ppo_max_token_len_per_gpu"
    if phase == UPDATE and actor.use_dynamic_bsz and actor.ppo_max_token_len_per_gpu > longest_rollout(cfg):
        yield {budget: longest_rollout(cfg)}
    if phase == UPDATE and not cfg.actor_rollout_ref.model.enable_gradient_checkpointing:
        yield {"actor_rollout_ref.model.enable_gradient_checkpointing": True}
    if phase in (SCORING, POOL) and teacher.max_tokens_per_gpu > longest_scored(cfg):
        yield {"teacher.max_tokens_per_gpu": longest_scored(cfg)}
    if phase == ROLLOUT and over:
        yield from ({_SHARE: smaller} for smaller in _SHARES if smaller < share and _cache_holds(cfg, plan, smaller))
    if phase in (ROLLOUT, SCORING, WEIGHTS) and not actor.fsdp_config.optimizer_offload:
        yield {f"{_FSDP}.optimizer_offload": True}
    if phase in (ROLLOUT, SCORING, WEIGHTS) and not actor.fsdp_config.param_offload:
        yield {f"{_FSDP}.param_offload": True}
    key, now = ("teacher.n_gpus", teacher.n_gpus) if phase == POOL else (_GPUS, cfg.trainer.n_gpus_per_node)
    whole = rollout.tensor_model_parallel_size * rollout.data_parallel_size if key == _GPUS else 1
    rollouts = cfg.data.train_batch_size * rollout.n
    yield from ({key: n} for n in _GPUS_OF_A_MACHINE if n > now and rollouts % n == 0 and n % whole == 0)


def _cache_holds(cfg: DictConfig, plan: Plan, share: float) -> bool:
    memory = _memory(_changed(cfg, {_SHARE: share}), plan)
    return memory.cache_tokens >= memory.longest


def _memory(cfg: DictConfig, plan: Plan) -> Memory:
    return predict(cfg, plan.gpu, plan.work.responses).memory


def _changed(cfg: DictConfig, changes: Changes) -> DictConfig:
    changed = copy.deepcopy(cfg)
    for key, value in changes.items():
        OmegaConf.update(changed, key, value)
    return changed
