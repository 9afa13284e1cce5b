"""Where the teacher lives: colocated with the actor, or on a resource pool of its own.

Both placements score the same way; they differ in where hidden states are kept until the update (actor/worker.py).
"""

from __future__ import annotations

from collections.abc import Callable

import ray
from omegaconf import DictConfig
from transfer_queue import KVBatchMeta
from verl.single_controller.ray import RayClassWithInitArgs, RayResourcePool, RayWorkerGroup

from verl_vaopd.config.objective import Objective
from verl_vaopd.engine import fields
from verl_vaopd.teacher.request import ScoreRequest
from verl_vaopd.teacher.worker import TeacherWorker, teacher_worker_config
from verl_vaopd.trainer import rows

POOL_NAME = "teacher_pool"


class TeacherGroup:
    """The teacher as the trainer sees it, and what the student's passes have to fetch because of it."""

    def __init__(
        self,
        config: DictConfig,
        objective: Objective,
        vocab_size: int,
        student_group: RayWorkerGroup,
        pool: RayResourcePool | None,
    ):
        """Start the teacher. `pool` is None for the colocated placement."""
        worker_config = teacher_worker_config(config, vocab_size)
        self.colocated = pool is None
        self.objective = objective
        student_group.init_distillation(worker_config, objective, self.colocated)
        if pool is None:
            self.group = student_group
        else:
            self.group = RayWorkerGroup(
                resource_pool=pool,
                ray_cls_with_init=RayClassWithInitArgs(cls=ray.remote(TeacherWorker), config=worker_config),
                device_name=config.trainer.device,
            )
            self.group.reset()

    def score(self, batch: KVBatchMeta, asked: ScoreRequest) -> None:
        """Add `teacher_log_probs`, and what else is asked for, to the rows of `batch`."""
        score: Callable[[KVBatchMeta], KVBatchMeta] = self.group.score
        score(rows.request(batch, asked.reads, **asked.settings))

    def update_fields(self) -> list[str]:
        """Fields that the student's update fetches of rows that the teacher has just scored, if the objective asks."""
        objective = self.objective
        needed = {
            fields.TOKEN_WEIGHTS: objective.distils,
            fields.TEACHER_LOG_PROBS: objective.needs_teacher,
            fields.ADVANTAGES: objective.reward_coef != 0,
            fields.REF_LOG_PROB: objective.use_reference,
            fields.MASKED_INPUTS: objective.needs_masked_view,
        }
        return [*self.forward_fields(objective.scores_rollouts), *(name for name, asked in needed.items() if asked)]

    def forward_fields(self, scored: bool, degraded: bool = False) -> list[str]:
        """Fields that a pass of the student without a step fetches.

        Args:
            scored: the teacher has just seen these rows, and its hidden states were kept.
            degraded: so were those of the degraded view, and the pass needs them.
        """
        if not scored:
            return [*fields.FORWARD, fields.IMAGES]
        if self.colocated:  # images and states are still in the process
            return [*fields.FORWARD]
        degraded_states = [fields.DEGRADED_HIDDEN_STATES] if degraded else []
        return [*fields.FORWARD, fields.IMAGES, fields.TEACHER_HIDDEN_STATES, *degraded_states]
