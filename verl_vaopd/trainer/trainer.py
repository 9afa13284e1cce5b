"""VA-OPD, and every method beside it, on verl's synchronous V1 trainer: what one step does instead of PPO's.

    rollouts -> teacher scores both views -> one weight per token -> weighted exact KL -> weights to vLLM

(VA-OPD, arXiv:2605.21924, Eq. 1-6.) A method leaves out what its objective does not need, and a reward adds verl's own
advantages. Everything that is not said here is verl's: data loading, rollouts, balancing, checkpoints' content, weight
synchronisation, trackers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import ray
import torch
from omegaconf import DictConfig
from transfer_queue import KVBatchMeta
from transformers import AutoTokenizer
from verl.trainer.ppo.utils import Role
from verl.utils.debug import marked_timer

from verl_vaopd.actor.worker import StudentWorker
from verl_vaopd.config.checks.models import first_different_ids
from verl_vaopd.config.cluster import running_cluster
from verl_vaopd.data.scoring import tell_unscored
from verl_vaopd.engine import fields
from verl_vaopd.rollout.prompt_lengths import require_responses_fit
from verl_vaopd.runs.events import EventLog, validations
from verl_vaopd.runs.token_dump import TokenDump, fixed_subset
from verl_vaopd.runs.validation_samples import write_samples
from verl_vaopd.teacher.request import ScoreRequest
from verl_vaopd.trainer import reporting, rows, selection
from verl_vaopd.trainer.checkpointing import CheckpointedTrainer
from verl_vaopd.trainer.failures import require_few_failures
from verl_vaopd.trainer.host_memory import HostMemory
from verl_vaopd.trainer.metrics import memory_metrics
from verl_vaopd.trainer.placement import POOL_NAME, TeacherGroup
from verl_vaopd.trainer.preflight_run import Preflight
from verl_vaopd.trainer.rollouts import Rollouts
from verl_vaopd.trainer.validation import Validation
from verl_vaopd.trainer.weighing import SOURCES, measure, weigh

if TYPE_CHECKING:
    from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopManagerTQ


class DistillationTrainer(CheckpointedTrainer):
    """One trainer for all methods. Distillation methods differ in their token weights: trainer/weighing.py."""

    def __init__(self, config: DictConfig, events: EventLog):
        super().__init__(config, events)
        self.rollouts: Rollouts | None = None
        """Those of the current step with all that has been measured and weighed of them so far; None: nothing yet."""
        self.dump = TokenDump(config.run.dir)

    # ---- set-up

    def _init_dataloader(self) -> None:
        super()._init_dataloader()
        self.val_dataset.keep_first(self.config.validation.num_questions)
        self._set_last_step()
        if self.objective.stored_responses:
            require_responses_fit(self.config)

    def _init_resource_pool_mgr(self) -> None:
        super()._init_resource_pool_mgr()
        role = Role.ActorRolloutRef if self.use_reference_policy else Role.ActorRollout
        self.role_worker_mapping[role] = ray.remote(StudentWorker)
        teacher = self.config.teacher
        if teacher.placement == "pool":
            self.mapping[Role.TeacherModel] = POOL_NAME
            self.resource_pool_manager.resource_pool_spec[POOL_NAME] = [teacher.n_gpus] * teacher.nnodes

    def _setup(self) -> None:
        super()._setup()
        colocated = self.config.teacher.placement == "colocated"
        self.teacher = TeacherGroup(
            self.config,
            self.objective,
            vocab_size=len(self.tokenizer),
            student_group=self.actor_rollout_wg,
            pool=None if colocated else self.resource_pool_manager.get_resource_pool(Role.TeacherModel),
        )
        if self.resumed_from is not None and self.objective.ema_decay is not None:
            self.actor_rollout_wg.load_teacher(str(self.resumed_from))

    def _init_tokenizer(self) -> None:
        super()._init_tokenizer()
        self.eos_token_ids = reporting.end_tokens(self.tokenizer, self.config.student.path)
        self.is_format = reporting.format_tokens(self.tokenizer)
        # The configuration compares local directories only; a hub id is compared here, before any model is loaded.
        teacher = AutoTokenizer.from_pretrained(self.config.teacher.path)
        if teacher.get_vocab() != self.tokenizer.get_vocab():
            raise ValueError(
                f"student {self.config.student.path} and teacher {self.config.teacher.path} have different tokenizers "
                f"({len(self.tokenizer)} and {len(teacher)} ids); "
                f"{first_different_ids(self.tokenizer.get_vocab(), teacher.get_vocab())}; distillation compares "
                "distributions over the same ids: choose models of one family"
            )

    def fit(self, agent_loop_manager: AgentLoopManagerTQ) -> None:
        """Check the models, train to the end, and watch the memory of all processes meanwhile.

        Raises:
            PreflightError: a check has failed that nobody has waived.
        """
        self.agent_loop_manager = agent_loop_manager
        self.alarms = reporting.alarms_after(self.global_steps, self.config, len(self.tokenizer), self.events)
        with HostMemory(own_cluster=running_cluster(self.config) is None) as self.memory:
            self.events.write("phase", name="checking the models")
            self.preflight = self._preflight()
            self.preflight.before_training(self.global_steps)
            if self.config.preflight.only:
                self.ending = "checks only"
                return
            super().fit(agent_loop_manager)
            self.logger.finish(exit_code=0)

    def _preflight(self) -> Preflight:
        return Preflight(
            validation=self._validation(),
            prompts=self.train_dataset,
            vocab_size=len(self.tokenizer),
            image_token_id=self.processor.image_token_id,
            events=self.events,
        )

    # ---- one step

    def on_step_begin(self) -> None:
        super().on_step_begin()
        self.memory.take()

    def on_step_end(self) -> None:
        super().on_step_end()
        self.step_memory = self.memory.take()

    def _step_once(self, metrics: dict[str, Any], timing_raw: dict[str, float], sample_batch_size: int) -> KVBatchMeta:
        with marked_timer("gen", timing_raw):
            batch, _ = self.replay_buffer.sample(
                global_steps=self.global_steps, partition_id="train", batch_size=sample_batch_size
            )
            self._require_few_failures(batch, sample_batch_size)
            self._count_unscored()
            rows.require_rollouts(len(batch))
            self.on_sample_end()
        batch, self.num_filtered_prompts = selection.informative(
            batch, self.config.papo, self.global_steps, self.events
        )
        # Balancing may append padding rows and reorders: whatever is per token comes after it.
        batch = self._balance_batch(batch, metrics={})
        self.rollouts = None
        if self.objective.scores_rollouts:
            with marked_timer("teacher", timing_raw):
                self._score(batch)
        if self.objective.measures_advantage:
            self._measure(batch)
        if self.objective.scores_rollouts:
            real = rows.select(batch, rows.real_positions(batch))
            self.rollouts = self.preflight.of_scores(
                self.global_steps, real, lambda names: self._load_rollouts(batch, names)
            )
        if self.objective.distils:
            self._weigh_tokens(batch)
        if self.objective.reward_coef:
            with marked_timer("advantage", timing_raw):
                if self.use_reference_policy:
                    self.ref_policy_wg.score_reference(rows.request(batch, self.teacher.forward_fields(scored=False)))
                self._compute_advantage(batch, metrics)
        with marked_timer("update_actor", timing_raw):
            self._update_actor(batch, metrics=metrics)
        self.preflight.after_update()
        return batch

    def _require_few_failures(self, batch: KVBatchMeta, num_prompts: int) -> None:
        num_asked = num_prompts * self.config.actor_rollout_ref.rollout.n
        limit, what = self.config.run.max_dropped_frac, f"step {self.global_steps}"
        failures = require_few_failures(self.agent_loop_manager, len(batch), num_asked, limit, what)
        self.num_dropped_rollouts = failures.num
        if failures.num:
            self.events.write("warning", text=failures.told)

    def _count_unscored(self) -> None:
        unscored = self.agent_loop_manager.take_unscored()
        self.num_unscored_rewards = unscored.total()
        if unscored:
            self.events.write("warning", text=tell_unscored(unscored, f"step {self.global_steps}"))

    def _score(self, batch: KVBatchMeta) -> None:
        """Both views by the teacher; with a visual advantage of whole distributions, the student's divergences too."""
        request = ScoreRequest.for_training(self.objective)
        self.teacher.score(batch, request)
        if request.keep_degraded_hidden_states:
            read = self.teacher.forward_fields(scored=True, degraded=True)
            self.actor_rollout_wg.forward_tokens(rows.request(batch, read, keep=True))

    def _measure(self, batch: KVBatchMeta) -> None:
        """Eq. 2: visual advantage."""
        measuring = self.objective.measuring
        self.rollouts = measure(self._load_rollouts(batch, SOURCES[measuring.advantage]), measuring)

    def _weigh_tokens(self, batch: KVBatchMeta) -> None:
        """Eq. 3-6: one weight per token; zero on padding rows."""
        generator = torch.Generator().manual_seed(self.config.run.seed * 1_000_003 + self.global_steps)
        self.rollouts = weigh(self._load_rollouts(batch), self.objective.weighting, generator)
        real = rows.real_positions(batch)
        rows.store(rows.select(batch, real), token_weights=self.rollouts.per_token["token_weights"])
        padding = rows.select(batch, sorted(set(range(len(batch))) - set(real)))
        if len(padding):
            rows.store(padding, token_weights=torch.zeros(len(padding), 1))

    def _load_rollouts(self, batch: KVBatchMeta, per_token: Iterable[str] = ()) -> Rollouts:
        """The real rows of the batch with what is known of them so far, and these per-token fields."""
        real = rows.select(batch, rows.real_positions(batch))
        if self.rollouts is None:
            return rows.load_rollouts(real, self.eos_token_ids, per_token)
        return rows.load_more(self.rollouts, real, per_token)

    def _update_actor(self, batch: KVBatchMeta, metrics: dict[str, Any]) -> KVBatchMeta:
        super()._update_actor(rows.request(batch, self.teacher.update_fields()), metrics)
        self.actor_rollout_wg.token_outputs(rows.request(batch, [fields.RESPONSE_MASK]))
        if self.objective.ema_decay is not None:
            self.actor_rollout_wg.update_teacher(self.objective.ema_decay)
        return batch

    def _compute_metrics(
        self, batch: KVBatchMeta, metrics: dict[str, Any], timing_raw: dict[str, float], global_steps: int, epoch: int
    ) -> None:
        """Replace PPO's metrics by ours, report the step, dump tokens. Runs after the step's validation."""
        rollouts = self._load_rollouts(batch, reporting.reported(self.objective))
        worker_metrics = dict(metrics)
        metrics.clear()
        metrics.update(
            reporting.step_metrics(
                rollouts,
                is_format=self.is_format,
                timing=timing_raw,
                memory=self.step_memory,
                worker_metrics=worker_metrics,
                num_expected_prompts=self.config.data.train_batch_size - self.num_filtered_prompts,
                num_dropped_rollouts=self.num_dropped_rollouts,
                num_unscored_rewards=self.num_unscored_rewards,
                num_filtered_prompts=self.num_filtered_prompts,
                num_padding_rows=len(batch) - len(rollouts.uid),
            )
        )
        reporting.raise_alarms(self.alarms, global_steps, metrics, self.events)
        self.events.write("step", step=global_steps, total=self.total_training_steps, metrics=metrics)
        self.preflight.of_step(global_steps, rollouts, metrics)
        of_validation = (*(f"{split}/" for split in self.config.validation.splits), "perf/validation/")
        metrics.update({name: value for name, value in worker_metrics.items() if name.startswith(of_validation)})
        options = self.config.dump
        if options.every > 0 and global_steps % options.every == 0:
            num_prompts = -(-options.num_train_rollouts // self.config.actor_rollout_ref.rollout.n)
            chosen = fixed_subset(rollouts.question_id, num_prompts, seed=global_steps)
            self.dump.write(global_steps, "train", reporting.dump_rows(rollouts, chosen, self.tokenizer))

    # ---- validation

    def _validate(self) -> dict[str, float]:
        self._report_validated(0)
        self.memory.take()
        validated = self._validation().run(self.global_steps)
        memory = memory_metrics("validation", self.memory.take())
        summaries = validated.summaries
        first, *others = summaries
        self.dump.write(self.global_steps, "heldout", validated.token_rows)
        write_samples(self.config.run.dir, self.global_steps, validated.samples)
        for told in validated.failures:
            self.events.write("warning", text=told)
        rest = {"other_splits": {split: summaries[split] for split in others}} if others else {}
        self.events.write("validation", step=self.global_steps, **summaries[first], **rest, metrics=memory)
        self._select_checkpoints()
        patience = self.config.validation.patience
        if patience is not None and selection.out_of_patience(validations(self.events.path), patience):
            self.ending = f"stopped early at step {self.global_steps}: no gain in {patience} checks"
            self.events.write("warning", text=self.ending)
            self.total_training_steps = self.global_steps
        found = {f"{split}/{name}": float(v) for split, of_split in summaries.items() for name, v in of_split.items()}
        return found | memory

    def _validation(self) -> Validation:
        return Validation(
            questions=self.val_dataloader,
            agent_loops=self.agent_loop_manager,
            replay_buffer=self.replay_buffer,
            checkpoint_manager=self.checkpoint_manager,
            student_group=self.actor_rollout_wg,
            teacher=self.teacher,
            tokenizer=self.tokenizer,
            eos_token_ids=self.eos_token_ids,
            objective=self.objective,
            config=self.config,
            dumped_questions=selection.dumped_questions(self.val_dataset, self.config),
            report=self._report_validated,
        )

    def _report_validated(self, done: int) -> None:
        self.events.write("phase", name="validating", done=done, total=len(self.val_dataset))
