"""Seconds per step of VA-OPD against Standard OPD and against verl's own on-policy distillation, interleaved.

    python benchmarks/step_time.py --repeats 2 --steps 12 OVERRIDES...

Every variant trains the same student on the same data with the same batch, rollout and optimizer settings, each in a
process of its own; variants alternate, so that a change of the machine's load meets all of them. verl's distillation
asks a vLLM teacher for log-probs: of the sampled token (k1, as policy gradient) or of the teacher's top 32 tokens
(forward KL). It gets our replay buffer too: verl's own sleeps 2 s per step, which would flatter us.

The first steps of a run (compilation, first allocations) are left out. Seconds are medians over steps; a ratio is of
the medians of two variants' runs. Writes benchmarks/results/step_time_<device>.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

from benchmarks.machine import describe_machine, write_result
from verl_vaopd.config import compose, validate
from verl_vaopd.runs import events, run_dir

RESULTS = Path(__file__).parent / "results"
WARM_UP_STEPS = 3
VARIANTS = ("vaopd", "opd", "verl_k1", "verl_forward_kl_topk")
COMMON = ["validation.every=1000", "checkpoint.every=1000", "validation.before_train=false", "dump.every=-1"]


def verl_config(config: DictConfig, loss_mode: str) -> DictConfig:
    """The same job for verl's own distillation trainer."""
    teacher, rollout = config.teacher, config.actor_rollout_ref.rollout
    config = config.copy()
    with open_dict(config):
        config.actor_rollout_ref.model.model_type = "language_model"
        config.actor_rollout_ref.rollout.agent.agent_loop_manager_class = None
        config.actor_rollout_ref.rollout.logprobs_mode = "processed_logprobs"
        config.reward.num_workers = 1
        config.reward.custom_reward_function = {"path": "pkg://verl_vaopd.data.scoring", "name": "compute_score"}
        config.trainer.val_before_train = False
        config.trainer.test_freq = config.trainer.save_freq = -1
        config.trainer.logger = ["file"]
        config.trainer.resume_mode = "disable"
        config.transfer_queue.enable = True
        config.ray_kwargs.ray_init.num_gpus = 2
        config.ray_kwargs.ray_init.address = "local"
        distillation = config.distillation
        distillation.enabled = True
        distillation.n_gpus_per_node = distillation.nnodes = 1
        model = distillation.teacher_models.teacher_model
        model.model_path = teacher.path
        inference = {key: rollout[key] for key in ("gpu_memory_utilization", "max_num_seqs", "max_num_batched_tokens")}
        inference |= {key: rollout[key] for key in ("enforce_eager", "free_cache_engine", "engine_kwargs", "dtype")}
        model.inference = OmegaConf.merge(
            model.inference,
            inference,
            {"name": "vllm", "tensor_model_parallel_size": 1, "max_model_len": rollout.max_model_len + 1},
            {"enable_sleep_mode": False} if config.trainer.device == "cpu" else {},
        )
        loss = distillation.distillation_loss
        loss.use_task_rewards = False
        loss.loss_mode = loss_mode
        loss.use_policy_gradient = loss_mode == "k1"
    return config


def train_verl(config_path: Path) -> None:
    """In a process of its own: verl's trainer, unchanged."""
    config = OmegaConf.load(config_path)
    from verl.trainer.main_ppo import TaskRunnerV1, run_ppo

    run_ppo(config, task_runner_class=TaskRunnerV1)


def measure(variant: str, overrides: list[str], steps: int, work: Path, repeat: int) -> list[float]:
    """Seconds of the steps of one run, without the warm-up."""
    method = "vaopd" if variant == "vaopd" else "opd"
    job = [*overrides, *COMMON, f"method={method}", f"trainer.total_training_steps={steps}"]
    job += [f"run.name={variant}_{repeat}", f"run.root={work}", f"dataset.root={work / 'data'}"]
    config = compose(job)
    validate(config)
    run = run_dir.prepare(config, job, sys.argv)
    environment = dict(os.environ)
    if variant.startswith("verl_"):
        path = run.path / "verl.yaml"
        OmegaConf.save(verl_config(OmegaConf.load(run.path / "config.yaml"), variant.removeprefix("verl_")), path)
        metrics = run.path / "verl_metrics.jsonl"
        if config.trainer.device == "cpu":
            from verl_vaopd.platform import cpu_environment

            environment |= cpu_environment()
        environment["VERL_FILE_LOGGER_PATH"] = str(metrics)
        command = [sys.executable, "-m", "benchmarks.step_time", "--verl", str(path)]
    else:
        command = [sys.executable, "-m", "verl_vaopd.trainer.main", "--run-dir", str(run.path)]
    with (run.path / "train.log").open("ab") as log:
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment, check=True)
    if variant.startswith("verl_"):
        rows = [json.loads(line) for line in metrics.read_text().splitlines()]
        seconds = [row["data"]["timing_s/step"] for row in rows]
    else:
        seconds = [event["metrics"]["perf/step/seconds"] for event in events.steps(run.path / events.FILE_NAME)]
    print(f"{variant} run {repeat}: median {statistics.median(seconds[WARM_UP_STEPS:]):.3f} s per step", flush=True)
    return seconds[WARM_UP_STEPS:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--verl", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", default=[])
    options = parser.parse_args()
    if options.verl:
        train_verl(options.verl)
        return
    overrides = options.overrides or ["hardware=cpu", "dataset=tinygeo", "student=tiny", "teacher=tiny"]
    seconds: dict[str, list[list[float]]] = {variant: [] for variant in options.variants}
    with tempfile.TemporaryDirectory(prefix="step_time_") as work:
        for repeat in range(options.repeats):
            for variant in options.variants:
                seconds[variant].append(measure(variant, overrides, options.steps, Path(work), repeat))
        config = compose(overrides)
    medians = {name: statistics.median([s for run in runs for s in run]) for name, runs in seconds.items()}
    result = {
        "what": "seconds per training step; ratio = median of vaopd / median of the variant",
        "overrides": overrides,
        "steps_per_run": options.steps - WARM_UP_STEPS,
        "runs_per_variant": options.repeats,
        "median_seconds": medians,
        "run_medians": {name: [statistics.median(run) for run in runs] for name, runs in seconds.items()},
        "ratio_of_vaopd": {name: medians["vaopd"] / median for name, median in medians.items() if "vaopd" in medians},
        "machine": describe_machine(),
    }
    write_result(RESULTS / f"step_time_{config.trainer.device}.json", result)
    print(json.dumps(result["ratio_of_vaopd"], indent=2))


if __name__ == "__main__":
    main()
