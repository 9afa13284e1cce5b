"""Bytes: what travels in a step, and what stays on the disk."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import DictConfig

from verl_vaopd.config.checks.weights import bytes_of_checkpoint
from verl_vaopd.planning.assumptions import Assumptions
from verl_vaopd.planning.shapes import Shape
from verl_vaopd.planning.workload import WIDTHS, Workload

_TOKEN_FIELDS = 8 + 4 * 8 + 8 + 8 + 8 * 4
"""Bytes of a token in the queue: id, position in four axes, two masks, some eight float32 (engine/fields.py)."""


@dataclass(frozen=True)
class Traffic:
    """Of one step.

    Attributes:
        image: bytes of one rollout's image as the processor gives it, in float32.
        tokens: bytes of one rollout's fields without images, hidden states included where they travel.
        states: of these, hidden states of the teacher.
        rollouts: of a step; images_read: how often one of its views is read.
        views: of a rollout's image in training.
        sync: bytes of the weights that go to vLLM, on each GPU.
    """

    image: float
    tokens: float
    states: float
    rollouts: int
    views: int
    images_read: int
    sync: float

    @property
    def queue(self) -> float:
        """Bytes written and read in a step."""
        return self.queue_of(self.rollouts, self.views == 2) + 2 * self.rollouts * self.states

    def queue_of(self, rollouts: int, both_views: bool) -> float:
        """Bytes written and read for so many rollouts, hidden states aside."""
        views = 2 if both_views else 1
        return rollouts * (views * self.image * 2 + (self.images_read - 1) * self.image + 2 * self.tokens)


@dataclass(frozen=True)
class Disk:
    """Bytes on the disk of a run.

    Attributes:
        checkpoint: one of them; kept: how many there are at most at a time, the one being written included.
        dumps: of tokens, at the end.
    """

    checkpoint: float
    kept: int
    dumps: float

    @property
    def total(self) -> float:
        """At most at a time."""
        return self.checkpoint * self.kept + self.dumps


def traffic_of(cfg: DictConfig, student: Shape, teacher: Shape, work: Workload) -> Traffic:
    """Of a step of this job."""
    pool, objective = cfg.teacher.placement == "pool", work.objective
    states = work.responses.mean * teacher.text.hidden * WIDTHS[cfg.teacher.dtype]
    width = WIDTHS[cfg.actor_rollout_ref.actor.fsdp_config.model_dtype or "fp32"]
    return Traffic(
        image=4 * work.patches * student.vision.patch_values,
        tokens=work.tokens * _TOKEN_FIELDS,
        states=states if pool and objective.scores_rollouts else 0,
        rollouts=work.rollouts,
        views=2 if objective.measures_advantage or objective.needs_masked_view else 1,
        # A colocated teacher leaves the images to the student's update, in the same process.
        images_read=1 + (pool and objective.scores_rollouts),
        sync=student.parameters * width,
    )


def disk_of(cfg: DictConfig, student: Shape, work: Workload, assumed: Assumptions) -> Disk:
    """Of a run of this job: the best, the newest `checkpoint.keep` and the one that is being written; token dumps."""
    keep, dump = cfg.checkpoint.keep, cfg.dump
    siblings = cfg.actor_rollout_ref.rollout.n
    trained = -(-dump.num_train_rollouts // siblings) * siblings * (work.steps // dump.every if dump.every > 0 else 0)
    heldout = dump.num_heldout_prompts * cfg.validation.n * work.validations
    return Disk(
        checkpoint=bytes_of_checkpoint(cfg, student.parameters),
        kept=work.checkpoints if keep is None else min(work.checkpoints, keep + 2),
        dumps=(trained + heldout) * work.responses.mean * assumed.dumped_token,
    )
