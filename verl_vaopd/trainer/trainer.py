"""VA-OPD on verl's synchronous V1 trainer: what one step does instead of PPO's.

    rollouts -> teacher scores both views -> one weight per token -> weighted exact KL -> weights to vLLM

(VA-OPD, arXiv:2605.21924, Eq. 1-6.) Everything that is not said here is verl's: data loading, rollouts, balancing,
checkpoints' content, weight synchronisation, trackers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray
import torch
from omegaconf import DictConfig
from transfer_queue import KVBatchMeta
from transformers import AutoTokenizer
from verl.trainer.ppo.utils import Role
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.utils.debug import marked_timer

from verl_vaopd.actor.engine import TOKEN_OUTPUTS
from verl_vaopd.actor.worker import StudentWorker
from verl_vaopd.trainer import queue
from verl_vaopd.trainer.best import latest_complete, link_best, mark_complete, prune
from verl_vaopd.trainer.dump import TokenDump, fixed_subset
from verl_vaopd.trainer.events import EventLog, validations
from verl_vaopd.trainer.placement import POOL_NAME, TeacherGroup
from verl_vaopd.trainer.prompt_lengths import require_prompts_fit
from verl_vaopd.trainer.reporting import dump_rows, load_rollouts, step_metrics
from verl_vaopd.trainer.validation import validate
from verl_vaopd.trainer.weighing import score_tokens


class DistillationTrainer(PPOTrainerSync):
    """Synchronous on-policy distillation. The method is in the token weights: trainer/weighing.py."""

    def __init__(self, config: DictConfig, events: EventLog):
        super().__init__(config)
        self.events = events
        self.dump = TokenDump(config.run.dir)
        self.checkpoints_dir = Path(config.trainer.default_local_dir)

    # ---- set-up

    def _init_dataloader(self) -> None:
        super()._init_dataloader()
        require_prompts_fit([self.train_dataset, self.val_dataset])

    def _init_resource_pool_mgr(self) -> None:
        super()._init_resource_pool_mgr()
        self.role_worker_mapping[Role.ActorRollout] = ray.remote(StudentWorker)
        teacher = self.config.teacher
        if teacher.placement == "pool":
            self.mapping[Role.TeacherModel] = POOL_NAME
            self.resource_pool_manager.resource_pool_spec[POOL_NAME] = [teacher.n_gpus] * teacher.nnodes

    def _setup(self) -> None:
        super()._setup()
        colocated = self.config.teacher.placement == "colocated"
        self.teacher = TeacherGroup(
            self.config,
            vocab_size=len(self.tokenizer),
            student_group=self.actor_rollout_wg,
            pool=None if colocated else self.resource_pool_manager.get_resource_pool(Role.TeacherModel),
        )

    def _init_tokenizer(self) -> None:
        super()._init_tokenizer()
        eos = self.tokenizer.eos_token_id
        self.eos_token_ids = [eos] if isinstance(eos, int) else list(eos)
        # The configuration compares local directories only; a hub id is compared here, before any model is loaded.
        teacher = AutoTokenizer.from_pretrained(self.config.teacher.path)
        if teacher.get_vocab() != self.tokenizer.get_vocab():
            raise ValueError(
                f"student {self.config.student.path} and teacher {self.config.teacher.path} have different tokenizers "
                f"({len(self.tokenizer)} and {len(teacher)} ids); distillation compares distributions over the same "
                "ids: choose models of one family"
            )

    # ---- one step

    def _step_once(self, metrics: dict[str, Any], timing_raw: dict[str, float], sample_batch_size: int) -> KVBatchMeta:
        with marked_timer("gen", timing_raw):
            batch, _ = self.replay_buffer.sample(
                global_steps=self.global_steps, partition_id="train", batch_size=sample_batch_size
            )
            queue.require_rollouts(batch)
            self.on_sample_end()
        # Balancing may append padding rows and reorders: whatever is per token comes after it.
        batch = self._balance_batch(batch, metrics={})
        with marked_timer("teacher", timing_raw):
            self.teacher.score(batch, degraded_view=self.config.method.degraded_view, keep_hidden_states=True)
        with marked_timer("token_weights", timing_raw):
            self._weigh_tokens(batch)
        with marked_timer("update_actor", timing_raw):
            self._update_actor(batch, metrics=metrics)
        return batch

    def _weigh_tokens(self, batch: KVBatchMeta) -> None:
        """Eq. 2-6: one weight per token; zero on padding rows."""
        real = queue.real_positions(batch)
        rollouts = queue.select(batch, real)
        self.scores = score_tokens(rollouts, self.config.vaopd, self.config.method.degraded_view)
        queue.store(rollouts, token_weights=self.scores["token_weights"])
        padding = queue.select(batch, sorted(set(range(len(batch))) - set(real)))
        if len(padding):
            queue.store(padding, token_weights=torch.zeros(len(padding), 1))

    def _update_actor(self, batch: KVBatchMeta, metrics: dict[str, Any]) -> KVBatchMeta:
        super()._update_actor(queue.request(batch, self.teacher.update_fields()), metrics)
        self.actor_rollout_wg.token_outputs(queue.request(batch, ["response_mask"]))
        return batch

    def _compute_metrics(
        self, batch: KVBatchMeta, metrics: dict[str, Any], timing_raw: dict[str, float], global_steps: int, epoch: int
    ) -> None:
        """Replace PPO's metrics by ours, report the step, dump tokens. Runs after the step's validation."""
        rollouts = queue.select(batch, queue.real_positions(batch))
        values = {**load_rollouts(rollouts, self.eos_token_ids, TOKEN_OUTPUTS), **self.scores}
        worker_metrics = dict(metrics)
        metrics.clear()
        metrics.update(
            step_metrics(
                values,
                high_frac=self.config.vaopd.high_frac,
                timing=timing_raw,
                worker_metrics=worker_metrics,
                num_expected_prompts=self.config.data.train_batch_size,
                num_padding_rows=len(batch) - len(rollouts),
            )
        )
        self.events.write("step", step=global_steps, total=self.total_training_steps, metrics=metrics)
        metrics.update({name: value for name, value in worker_metrics.items() if name.startswith("validation/")})
        options = self.config.dump
        if options.every > 0 and global_steps % options.every == 0:
            num_prompts = -(-options.num_train_rollouts // self.config.actor_rollout_ref.rollout.n)
            chosen = fixed_subset(values["question_id"], num_prompts, seed=global_steps)
            self.dump.write(global_steps, "train", dump_rows(values, chosen, self.tokenizer))

    # ---- validation and checkpoints

    def _validate(self) -> dict[str, float]:
        self.events.write("phase", name="validating")
        summary, rows = validate(self)
        self.dump.write(self.global_steps, "heldout", rows)
        missing = summary["n_missing"]
        if missing:
            self.events.write("warning", text=f"{missing} held-out samples failed at step {self.global_steps}")
        self.events.write("validation", step=self.global_steps, **summary)
        link_best(self.checkpoints_dir, validations(self.events.path))
        self._prune_checkpoints()
        return {f"validation/{name}": float(value) for name, value in summary.items()}

    def _save_checkpoint(self) -> None:
        super()._save_checkpoint()
        mark_complete(self.checkpoints_dir / f"global_step_{self.global_steps}")
        self.events.write("checkpoint", step=self.global_steps)

    def _load_checkpoint(self) -> None:
        """Continue from the last checkpoint that is complete, whatever verl's own pointer file says."""
        latest = latest_complete(self.checkpoints_dir)
        self.config.trainer.resume_mode = "disable" if latest is None else "resume_path"
        self.config.trainer.resume_from_path = None if latest is None else str(latest)
        super()._load_checkpoint()
        done = [event["step"] for event in validations(self.events.path)]
        if latest is not None and self.global_steps in done:
            self.config.trainer.val_before_train = False

    def _prune_checkpoints(self) -> None:
        """Keep the newest `checkpoint.keep` and the best; runs after validation, when the best is known."""
        keep = self.config.checkpoint.keep
        if keep is not None:
            prune(self.checkpoints_dir, keep)
