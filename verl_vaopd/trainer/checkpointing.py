"""verl's synchronous V1 trainer with checkpoints that are whole or do not count, and a last step that is told."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

from verl_vaopd.config.checks.weights import checkpoint_bytes
from verl_vaopd.config.objective import Objective
from verl_vaopd.runs.checkpoints import checkpoint_path, latest_complete, link_best, mark_complete, prune, saving
from verl_vaopd.runs.events import EventLog, steps, validations


class CheckpointedTrainer(PPOTrainerSync):
    """When a training ends, what it saves, and from where it goes on."""

    total_training_steps: int

    def __init__(self, config: DictConfig, events: EventLog):
        super().__init__(config)
        self.events = events
        self.objective = Objective.from_config(config)
        self.checkpoints_dir = Path(config.trainer.default_local_dir)
        self.ending = "all steps"
        """Why the last step is the last."""

    @property
    def last_step(self) -> int:
        """The last step that was trained, after `fit`; 0 without training."""
        if self.config.preflight.only:
            return self.global_steps
        return 0 if self.config.trainer.val_only else self.global_steps - 1  # verl has counted on

    def _set_last_step(self) -> None:
        """The last step is validated and saved by verl's loop; so it must be one that the data last for."""
        available = self.steps_per_epoch * self.config.trainer.total_epochs
        if available < self.total_training_steps:
            self.ending = f"the data ended at step {available} of {self.total_training_steps}"
            self.events.write("warning", text=self.ending)
            self.total_training_steps = available
        if self.config.trainer.test_freq < 0:  # verl would not validate the last step either
            self.config.trainer.test_freq = self.total_training_steps

    def _save_checkpoint(self) -> None:
        step_dir = checkpoint_path(self.checkpoints_dir, self.global_steps)
        with saving(step_dir, checkpoint_bytes(self.config)):
            super()._save_checkpoint()
            if self.objective.ema_decay is not None:
                self.actor_rollout_wg.save_teacher(str(step_dir))
            mark_complete(step_dir)
        self.events.write("checkpoint", step=self.global_steps)
        self._select_checkpoints()

    def _load_checkpoint(self) -> None:
        """Continue from the last checkpoint that is complete, whatever verl's own pointer file says."""
        latest = latest_complete(self.checkpoints_dir)
        self.config.trainer.resume_mode = "disable" if latest is None else "resume_path"
        self.config.trainer.resume_from_path = None if latest is None else str(latest)
        super()._load_checkpoint()
        self.resumed_from = latest
        self._tell_lost_steps()
        done = [event["step"] for event in validations(self.events.path)]
        if latest is not None and self.global_steps in done:
            self.config.trainer.val_before_train = False

    def _tell_lost_steps(self) -> None:
        """Metrics follow the checkpoint of their step: a kill in between loses them, and no step repeats them."""
        reported = {event["step"] for event in steps(self.events.path)}
        lost = [str(step) for step in range(1, self.global_steps + 1) if step not in reported]
        if lost:
            text = f"the metrics of step {', '.join(lost)} are lost: killed after the checkpoint and before them"
            self.events.write("warning", text=text)

    def _select_checkpoints(self) -> None:
        """Link the best, then keep it and the newest `checkpoint.keep`: after saving, and after validating.

        The link comes first also after saving: a kill may have come between a validation and its link.
        """
        link_best(self.checkpoints_dir, validations(self.events.path))
        keep = self.config.checkpoint.keep
        if keep is not None:
            prune(self.checkpoints_dir, keep)
