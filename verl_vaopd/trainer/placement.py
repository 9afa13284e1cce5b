"""Where the teacher lives: colocated with the actor, or on a resource pool of its own.

Both placements score the same way; they differ in where hidden states are kept until the update (actor/worker.py).
"""

from __future__ import annotations

from collections.abc import Callable

import ray
from omegaconf import DictConfig
from transfer_queue import KVBatchMeta
from verl.single_controller.ray import RayClassWithInitArgs, RayResourcePool, RayWorkerGroup

from verl_vaopd.actor.worker import FORWARD_FIELDS, IMAGES
from verl_vaopd.config.objective import Objective
from verl_vaopd.engine.views import FIELD, MASKED_FIELD, PRIVILEGED_FIELD
from verl_vaopd.teacher.worker import SCORE_FIELDS, TeacherWorker, teacher_worker_config
from verl_vaopd.trainer.rows import request

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

    def score(
        self,
        batch: KVBatchMeta,
        *,
        degraded_view: bool,
        keep_hidden_states: bool,
        privileged: bool = False,
        keep_degraded_hidden_states: bool = False,
    ) -> None:
        """Add `teacher_log_probs`, and `degraded_teacher_log_probs` if asked for, to the rows of `batch`.

        With `keep_hidden_states`, the next pass of the student over the same rows finds the teacher's states.
        `privileged`: the teacher's prompts hold the reference solution.
        """
        left_out = {field for field, asked in ((FIELD, degraded_view), (PRIVILEGED_FIELD, privileged)) if not asked}
        settings = {
            "degraded_view": degraded_view,
            "keep_hidden_states": keep_hidden_states,
            "keep_degraded_hidden_states": keep_degraded_hidden_states,
        }
        score: Callable[[KVBatchMeta], KVBatchMeta] = self.group.score
        score(request(batch, [field for field in SCORE_FIELDS if field not in left_out], **settings))

    def update_fields(self, scored: bool) -> list[str]:
        """Fields that the student's update fetches; `scored`: whether the teacher has just scored these rows."""
        objective = self.objective
        needed = {
            "token_weights": objective.distils,
            "teacher_log_probs": objective.needs_teacher,
            "advantages": objective.reward_coef != 0,
            "ref_log_prob": objective.use_reference,
            MASKED_FIELD: objective.needs_masked_view,
        }
        return [*self.forward_fields(scored), *(name for name, asked in needed.items() if asked)]

    def forward_fields(self, scored: bool, degraded: bool = False) -> list[str]:
        """Fields that a pass of the student without a step fetches; `degraded`: with the degraded view's states."""
        if not scored:
            return [*FORWARD_FIELDS, IMAGES]
        if self.colocated:
            return [*FORWARD_FIELDS]
        return [*FORWARD_FIELDS, IMAGES, "teacher_hidden_states", *(("degraded_hidden_states",) if degraded else ())]
