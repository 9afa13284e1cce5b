"""GPUs: how many the job asks for, how many there are, and how they are divided."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from omegaconf import DictConfig, OmegaConf

from verl_vaopd.config.cluster import running_cluster
from verl_vaopd.config.errors import Findings, listing
from verl_vaopd.config.resolvers import requested_gpus
from verl_vaopd.data.generated import EMBEDDED
from verl_vaopd.platform import Gpu, has_cpu_vllm, has_flash_attn

HardwareProbe = Callable[[], Sequence[Gpu]]
ROLLOUT = "actor_rollout_ref.rollout"
ATTENTION = ("actor_rollout_ref.model.override_config.attn_implementation", "teacher.attn_implementation")
"""Of student and teacher; the group `attention` sets both."""
FLASH_ATTENTION = "flash_attention_2"


def check_hardware(cfg: DictConfig, findings: Findings, probe: HardwareProbe) -> None:
    """Attention, placement of the teacher, division of the GPUs, and their number."""
    trainer = cfg.trainer
    findings.require(
        trainer.device in ("cpu", "cuda"),
        "unknown device",
        got=f"trainer.device={trainer.device}",
        expected="cpu or cuda",
        fix="leave trainer.device alone: the hardware recipe sets it",
    )
    findings.require(
        trainer.device != "cpu" or has_cpu_vllm(),
        "a job without GPUs needs vLLM's CPU build",
        got="trainer.device=cpu, and no such distribution here",
        expected="the CPU stack of requirements/cpu.txt",
        fix="VAOPD_HARDWARE=cpu before launch/run_vaopd.sh installs it in place of the other, or choose a GPU recipe",
    )
    for key in ("n_gpus_per_node", "nnodes"):
        findings.require_range(f"trainer.{key}", trainer[key], "at least 1", trainer[key] >= 1, 1)
    _check_attention(cfg, findings)
    _check_teacher(cfg, findings)
    ranks = trainer.n_gpus_per_node * trainer.nnodes
    size = _replica_size(cfg)
    findings.require(
        size >= 1 and ranks % max(size, 1) == 0,
        "the GPUs do not divide evenly among vLLM's replicas",
        got=f"{ranks} GPUs (trainer.n_gpus_per_node x trainer.nnodes), replicas of {size} "
        "(rollout.tensor_model_parallel_size x rollout.data_parallel_size)",
        expected="a replica size that divides the number of GPUs",
        fix=" ".join(_replicas_of_one(cfg)),
    )
    if ranks >= 1:
        _check_number(cfg, findings, probe)


def _check_attention(cfg: DictConfig, findings: Findings) -> None:
    kernels = {key: OmegaConf.select(cfg, key) for key in ATTENTION}
    # verl's default for the student, which is not written down in its configuration.
    asked = [key for key, kernel in kernels.items() if kernel in (None, FLASH_ATTENTION)]
    got = listing(f"{key}={FLASH_ATTENTION}" for key in asked)
    instead = " ".join("attention=sdpa" if kernels[key] is None else f"++{key}=sdpa" for key in asked)
    if cfg.trainer.device == "cpu":
        findings.require(not asked, "flash-attn runs on GPUs alone", got=got, expected="sdpa", fix=instead)
    else:
        findings.require(
            not asked or has_flash_attn(),
            "flash-attn is not installed",
            got=got,
            expected="sdpa, or the package flash-attn in this environment",
            fix=f"{instead}, or have it compiled: VAOPD_ATTENTION={FLASH_ATTENTION} bash launch/setup.sh",
        )


def _check_teacher(cfg: DictConfig, findings: Findings) -> None:
    teacher = cfg.teacher
    logical = cfg.trainer.device == "cpu"  # as many GPUs as are asked for
    pool = "teacher.placement=pool" if logical else _on_one_machine(cfg, max(cfg.trainer.n_gpus_per_node, 1), pool=True)
    if teacher.placement == "pool":
        findings.require(
            teacher.n_gpus >= 1 and teacher.nnodes >= 1,
            "the teacher's pool has no GPUs",
            got=f"teacher.n_gpus={teacher.n_gpus}, teacher.nnodes={teacher.nnodes}",
            expected="at least 1 each, beside the student's trainer.n_gpus_per_node",
            fix="teacher.n_gpus=1 teacher.nnodes=1" if logical else f"e.g. {pool}",
        )
    elif teacher.placement == "colocated":
        findings.require(
            teacher.n_gpus == 0,
            "a colocated teacher has no GPUs of its own",
            got=f"teacher.n_gpus={teacher.n_gpus}, teacher.placement=colocated",
            expected="teacher.n_gpus=0",
            fix=f"leave teacher.n_gpus alone, or {pool}",
        )


def _replica_size(cfg: DictConfig) -> int:
    """GPUs of one replica of vLLM."""
    return cfg.actor_rollout_ref.rollout.tensor_model_parallel_size * cfg.actor_rollout_ref.rollout.data_parallel_size


def _replicas_of_one(cfg: DictConfig) -> list[str]:
    keys = (f"{ROLLOUT}.tensor_model_parallel_size", f"{ROLLOUT}.data_parallel_size")
    return [f"{key}=1" for key in keys if OmegaConf.select(cfg, key) != 1]


def _on_one_machine(cfg: DictConfig, gpus: int, pool: bool) -> str:
    """Overrides by which the job fits on so many GPUs of one machine, its batch as it is.

    Args:
        pool: whether the teacher has some of them for itself; not where they are too few for that.
    """
    student, replicas = _largest(cfg, gpus - pool, max(_replica_size(cfg), 1)), []
    if student == 0 and pool:
        return _on_one_machine(cfg, gpus, pool=False)
    if student == 0:
        student, replicas = _largest(cfg, gpus, 1), _replicas_of_one(cfg)
    words = [f"trainer.n_gpus_per_node={student}", *replicas]
    if pool:
        words += ["teacher.placement=pool", f"teacher.n_gpus={gpus - student}", "teacher.nnodes=1"]
    elif cfg.teacher.placement == "pool" or cfg.teacher.n_gpus != 0:
        words += ["teacher.placement=colocated", "teacher.n_gpus=0"]
    return " ".join(words)


def _largest(cfg: DictConfig, limit: int, replica: int) -> int:
    """The most GPUs, at most `limit`, among which rollouts and replicas divide evenly; 0 if there are none."""
    rollouts = max(cfg.data.train_batch_size * cfg.actor_rollout_ref.rollout.n, 1)
    return next((n for n in range(limit, 0, -1) if rollouts % n == 0 and n % replica == 0), 0)


def _check_number(cfg: DictConfig, findings: Findings, probe: HardwareProbe) -> None:
    ray_init = cfg.ray_kwargs.ray_init
    address = running_cluster(cfg)
    if address is not None:
        findings.require(
            "://" not in address,
            "a training joins a Ray cluster at the port of its head, not through its dashboard or Ray's client",
            got=f"{address}, by {'ray_kwargs.ray_init.address' if ray_init.address else 'RAY_ADDRESS'}",
            expected="host:port, or auto on a machine of the cluster",
            fix="bash launch/ray_job.sh ... submits a job by http://host:port; or unset RAY_ADDRESS and "
            "ray_kwargs.ray_init.address=null to start Ray here",
        )
        # Its machines are not this one, and Ray knows what they have.
        given = {key: ray_init.get(key) for key in ("num_cpus", "num_gpus") if ray_init.get(key) is not None}
        findings.require(
            not given,
            "a running Ray cluster cannot be told its resources",
            got=listing(f"ray_kwargs.ray_init.{key}={value}" for key, value in given.items()) + f", address {address}",
            expected="null for both: Ray refuses to connect otherwise",
            fix=" ".join(f"ray_kwargs.ray_init.{key}=null" for key in given)
            + " to use that cluster, or unset RAY_ADDRESS and ray_kwargs.ray_init.address to start Ray here",
        )
        return
    wanted = requested_gpus(cfg)
    nodes = max(cfg.trainer.nnodes, cfg.teacher.nnodes if cfg.teacher.placement == "pool" else 1)
    asked = (
        f"{wanted} GPUs: trainer.n_gpus_per_node={cfg.trainer.n_gpus_per_node} x trainer.nnodes={cfg.trainer.nnodes}"
    )
    if cfg.teacher.placement == "pool":
        asked += f" + teacher.n_gpus={cfg.teacher.n_gpus} x teacher.nnodes={cfg.teacher.nnodes}"
    if cfg.trainer.device == "cpu":
        logical = ray_init.get("num_gpus")
        findings.require(
            logical is not None and logical >= wanted,
            "Ray has too few logical GPUs",
            got=f"ray_kwargs.ray_init.num_gpus={logical}",
            expected=f"at least the job's {asked}",
            fix="leave ray_kwargs.ray_init.num_gpus alone: hardware=cpu sets it to what the job asks for"
            if logical is not None
            else "hardware=cpu, which sets it to what the job asks for",
        )
        return
    gpus = probe()
    pool = cfg.teacher.placement == "pool"
    if not findings.require(
        nodes == 1,
        "several machines need a running Ray cluster",
        got=f"{asked}, but no ray_kwargs.ray_init.address",
        expected="the address of a Ray cluster that spans them",
        fix="ray_kwargs.ray_init.address=auto inside the cluster"
        + (f", or trainer.nnodes=1 {_on_one_machine(cfg, len(gpus), pool)} on this machine alone" if gpus else ""),
    ):
        return
    found = listing(f"{gpu.name} ({gpu.memory_mib / 1024:.0f} GiB)" for gpu in gpus)
    findings.require(
        len(gpus) >= wanted,
        "the job asks for more GPUs than this machine has",
        got=f"{len(gpus)} GPUs on this machine" + (f": {found}" if found else ""),
        expected=asked,
        fix=f"{_on_one_machine(cfg, len(gpus), pool)}, or another machine"
        if gpus
        else f"hardware=cpu dataset={EMBEDDED} student=tiny teacher=tiny trainer.n_gpus_per_node=1",
    )
