"""Where the teacher lives: colocated with the actor, or on a resource pool of its own.

Both placements score the same way; they differ in where hidden states are kept until the update (actor/worker.py).
"""

from __future__ import annotations

from collections.abc import Callable

import ray
from omegaconf import DictConfig
from transfer_queue import KVBatchMeta
from verl.single_controller.ray import RayClassWithInitArgs, RayResourcePool, RayWorkerGroup

from verl_vaopd.actor.worker import FORWARD_FIELDS, REMOTE_FIELDS, UPDATE_FIELDS
from verl_vaopd.rollout.views import FIELD
from verl_vaopd.teacher.worker import SCORE_FIELDS, TeacherWorker, teacher_worker_config
from verl_vaopd.trainer.queue import request

POOL_NAME = "teacher_pool"


class TeacherGroup:
    """The teacher as the trainer sees it."""

    def __init__(
        self, config: DictConfig, vocab_size: int, student_group: RayWorkerGroup, pool: RayResourcePool | None
    ):
        """Start the teacher. `pool` is None for the colocated placement."""
        worker_config = teacher_worker_config(config, vocab_size)
        self.colocated = pool is None
        student_group.init_distillation(worker_config, self.colocated)
        if pool is None:
            self.group = student_group
        else:
            self.group = RayWorkerGroup(
                resource_pool=pool,
                ray_cls_with_init=RayClassWithInitArgs(cls=ray.remote(TeacherWorker), config=worker_config),
                device_name=config.trainer.device,
            )
            self.group.reset()

    def score(self, batch: KVBatchMeta, *, degraded_view: bool, keep_hidden_states: bool) -> None:
        """Add `teacher_log_probs`, and `degraded_teacher_log_probs` if asked for, to the rows of `batch`.

        With `keep_hidden_states`, the next pass of the student over the same rows finds the teacher's states.
        """
        fields = [field for field in SCORE_FIELDS if degraded_view or field != FIELD]
        score: Callable[[KVBatchMeta], KVBatchMeta] = self.group.score
        score(request(batch, fields, degraded_view=degraded_view, keep_hidden_states=keep_hidden_states))

    def update_fields(self) -> list[str]:
        """Fields that the student's update fetches."""
        return [*UPDATE_FIELDS, *(() if self.colocated else REMOTE_FIELDS)]

    def forward_fields(self) -> list[str]:
        """Fields that the student's forward pass without a step fetches."""
        return [*FORWARD_FIELDS, *(() if self.colocated else REMOTE_FIELDS)]
