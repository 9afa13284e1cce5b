"""The training process: `python -m verl_vaopd.trainer.main --run-dir RUN`, started by `vaopd train`.

Reads RUN/config.yaml (composed and validated by the launcher), starts Ray, trains, and reports by RUN/events.jsonl.
The trainer runs in this process, not in a Ray actor of its own: one start-up less, and errors end here.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from verl_vaopd.platform import activate, cpu_environment, verify_registration
from verl_vaopd.trainer.best import BEST
from verl_vaopd.trainer.events import EventLog
from verl_vaopd.trainer.parent_watch import watch_parent
from verl_vaopd.trainer.run_dir import mark_finished

if TYPE_CHECKING:
    from verl.trainer.ppo.v1 import AgentLoopManagerTQ

    from verl_vaopd.trainer.trainer import DistillationTrainer


def main(argv: list[str] | None = None) -> None:
    """Train runs to their ends, one after the other, or raise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run-dir", type=Path, required=True, action="append", help="may be given several times")
    # Ray and vLLM shut down in `finally` clauses, which SIGTERM's default action would skip.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    watch_parent()
    for run_dir in parser.parse_args(argv).run_dir:
        config = OmegaConf.load(run_dir / "config.yaml")
        assert isinstance(config, DictConfig)
        set_environment(config, run_dir)
        with EventLog(run_dir / "events.jsonl") as events:
            last_step = train(config, events)
            best = run_dir / "checkpoints" / BEST
            mark_finished(run_dir, last_step=last_step, best=best.resolve().name if best.exists() else None)
            events.write("finished")


def set_environment(config: DictConfig, run_dir: Path) -> None:
    """Variables of all processes; before torch, Ray, verl or vLLM is imported."""
    if config.trainer.device == "cpu":
        os.environ.update(cpu_environment())
        # It is in GiB, at least 1, and would win over the few MB that the tiny models need.
        os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)
    os.environ["TENSORBOARD_DIR"] = str(run_dir / "tensorboard")
    # verl's file tracker truncates its file: every launch gets its own.
    os.environ["VERL_FILE_LOGGER_PATH"] = str(run_dir / f"metrics_{time.strftime('%Y%m%d_%H%M%S')}.jsonl")


def prepare_data(config: DictConfig, events: EventLog) -> None:
    """Generate what code makes. Other data sets must be there: the launcher has checked."""
    if config.dataset.name != "tinygeo":
        return
    events.write("phase", name="generating tinygeo")
    activate()
    from transformers import AutoTokenizer

    from verl_vaopd.data.tinygeo.dataset import write_dataset

    options = config.dataset
    write_dataset(
        Path(options.root),
        seed=options.seed,
        num_train=options.num_train,
        num_validation=options.num_validation,
        num_test=options.num_test,
        tokenizer=AutoTokenizer.from_pretrained(config.student.path),
    )


def train(config: DictConfig, events: EventLog) -> int:
    """Start Ray, the queue and the workers, and run the trainer. Returns the number of the last step."""
    prepare_data(config, events)
    events.write("phase", name="importing verl, vLLM and Ray")
    import ray
    import transfer_queue as tq
    from verl.trainer.constants_ppo import get_ppo_ray_runtime_env

    from verl_vaopd.trainer.trainer import DistillationTrainer

    verify_registration()
    config.transfer_queue.enable = True
    events.write("phase", name="starting Ray")
    ray.init(**ray_options(config, get_ppo_ray_runtime_env(config)))
    try:
        tq.init(config.transfer_queue)
        events.write("phase", name="loading student, teacher and vLLM")
        trainer = DistillationTrainer(config, events)
        trainer.init()
        events.write("phase", name="starting rollout workers")
        trainer.fit(start_agent_loops(config, trainer))
        trainer.logger.finish(exit_code=0)
        return trainer.total_training_steps
    finally:
        tq.close()
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


def start_agent_loops(config: DictConfig, trainer: DistillationTrainer) -> AgentLoopManagerTQ:
    """The agent loop manager named by the configuration, connected to the trainer's vLLM servers."""
    from verl.utils.import_utils import load_class_from_fqn

    name = config.actor_rollout_ref.rollout.agent.agent_loop_manager_class
    return load_class_from_fqn(name, "AgentLoopManager").create(
        config=config,
        llm_client=trainer.get_llm_client(),
        teacher_client=None,
        reward_loop_worker_handles=trainer.get_reward_handles(),
    )


if __name__ == "__main__":
    main()
