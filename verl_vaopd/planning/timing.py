"""Seconds of each phase of a step and of a validation: work over assumed rates, or what a run has measured.

Floating-point operations: 2 for each parameter and token of a matrix product, and the products of attention; backward
costs twice the forward pass, gradient checkpointing one more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from omegaconf import DictConfig

from verl_vaopd.planning.assumptions import Assumptions
from verl_vaopd.planning.gpus import GpuModel
from verl_vaopd.planning.shapes import Shape
from verl_vaopd.planning.volumes import Traffic
from verl_vaopd.planning.workload import WIDTHS, Workload

ASSUMED, MEASURED = "assumed", "measured"


@dataclass(frozen=True)
class Seconds:
    """A phase of a step: its seconds, whether they are assumed or measured, and how they follow."""

    name: str
    seconds: float
    source: str
    how: str


@dataclass(frozen=True)
class Timing:
    """Of a step by phases, of one validation, and of one checkpoint."""

    phases: tuple[Seconds, ...]
    validation: float
    checkpoint: float

    @property
    def step(self) -> float:
        """Seconds of a step."""
        return sum(phase.seconds for phase in self.phases)


@dataclass(frozen=True)
class Clock:
    """What the seconds of all phases follow from."""

    cfg: DictConfig
    student: Shape
    teacher: Shape
    work: Workload
    gpu: GpuModel
    assumed: Assumptions
    cache_tokens: float
    traffic: Traffic

    def timing(self, checkpoint_bytes: float) -> Timing:
        """Everything, assumed."""
        work = self.work
        objective, rollouts = work.objective, work.rollouts
        phases = [
            *([] if objective.stored_responses else [self.rollout(rollouts)]),
            self.sync(),
            self.queue(self.traffic.queue),
            *([self.scoring(rollouts, objective.measures_advantage)] if objective.scores_rollouts else []),
            *([self.reference()] if objective.use_reference else []),
            self.update(),
            Seconds("driver", self.assumed.driver, ASSUMED, "balancing, weights, metrics"),
        ]
        return Timing(tuple(phases), self.validation(), checkpoint_bytes / self.assumed.disk)

    def validation(self) -> float:
        """One pass over all held-out questions, in batches: both views are scored, whatever the method."""
        rollouts = self.work.validation_rollouts
        traffic = self.traffic.queue_of(rollouts, both_views=True)
        parts = (self.rollout(rollouts), self.scoring(rollouts, True), self.sync(), self.queue(traffic))
        return self.work.validation_batches * sum(part.seconds for part in parts)

    def rollout(self, rollouts: int) -> Seconds:
        """Prompts at the rate of matrix products, then token by token at the rate of the memory."""
        rollout, work, assumed = self.cfg.actor_rollout_ref.rollout, self.work, self.assumed
        text, width = self.student.text, WIDTHS[rollout.dtype]
        size = rollout.tensor_model_parallel_size * rollout.data_parallel_size
        sequences = rollouts / max(work.ranks // size, 1)
        mean, longest = work.responses.mean, work.responses.longest
        at_once = max(min(rollout.max_num_seqs, self.cache_tokens / work.tokens), 1)
        steps = max(longest, math.ceil(sequences / at_once) * mean)
        running = sequences * mean / steps
        read = (text.layers * text.layer + text.head) * width
        read += running * (work.prompt_tokens + mean / 2) * text.cache_bytes(width)
        computed = 2 * running * (text.layers * text.layer + text.head) / (size * self._rate)
        each = assumed.decode_step + max(read / size / (self.gpu.bandwidth * assumed.bandwidth), computed)
        prompts = sequences * self._forward(self.student, work.prompt_tokens, 1) / (size * self._rate)
        how = f"{steps:,.0f} tokens in a row, {each * 1e3:.1f} ms each; prompts {prompts:.1f} s"
        return Seconds("rollout", steps * each + prompts, ASSUMED, how)

    def sync(self) -> Seconds:
        """Weights to vLLM, which sleeps and wakes once."""
        moved = self.traffic.sync / self.assumed.sync
        sleeps = self.assumed.sleep_wake if self.cfg.actor_rollout_ref.rollout.free_cache_engine else 0.0
        how = f"{self.traffic.sync / 1e9:.2g} GB; sleep and wake {sleeps:g} s"
        return Seconds("weights", moved + sleeps, ASSUMED, how)

    def queue(self, traffic: float) -> Seconds:
        """Rollouts and their images into the queue and out of it."""
        return Seconds("queue", traffic / self.assumed.queue, ASSUMED, f"{traffic / 1e9:.2g} GB in and out")

    def scoring(self, rollouts: int, both_views: bool) -> Seconds:
        """The teacher's forward passes. Weights that lie in main memory come over for every micro-batch."""
        work, teacher, views = self.work, self.teacher, 2 if both_views else 1
        flop = rollouts * views * self._forward(teacher, work.tokens, work.responses.mean)
        computed = flop / (work.teacher_ranks * self._rate)
        tokens = rollouts * work.tokens / work.teacher_ranks
        passes = views * math.ceil(tokens / self.cfg.teacher.max_tokens_per_gpu)
        gathered = passes * teacher.parameters * WIDTHS[self.cfg.teacher.dtype] / self._link(work.teacher_ranks)
        how = f"{flop / 1e15:.3g} PFLOP, {passes} passes a GPU"
        if self.cfg.teacher.param_offload and self.gpu.name != "cpu":
            shard = teacher.parameters * WIDTHS[self.cfg.teacher.dtype] / work.teacher_ranks
            streamed = passes * shard / (self.gpu.host_link * self.assumed.link)
            return Seconds("teacher", max(computed, gathered) + streamed, ASSUMED, f"{how}; offloaded {streamed:.1f} s")
        return Seconds("teacher", max(computed, gathered), ASSUMED, how)

    def reference(self) -> Seconds:
        """Log-probs by the initial policy."""
        flop = self.work.rollouts * self._forward(self.student, self.work.tokens, self.work.responses.mean)
        return Seconds("reference", flop / (self.work.ranks * self._rate), ASSUMED, f"{flop / 1e15:.3g} PFLOP")

    def update(self) -> Seconds:
        """Forward and backward, layers once more with gradient checkpointing; the heads as in chunked_pass.py."""
        work, objective = self.work, self.work.objective
        responses = work.responses.mean
        times = 3 + bool(self.cfg.actor_rollout_ref.model.enable_gradient_checkpointing)
        body = self._forward(self.student, work.tokens, 0)
        masked = body * (times if objective.masked_gradient else 1) if objective.needs_masked_view else 0
        gap = body if objective.measures_advantage and objective.needs_gap else 0
        heads = 6 * responses * self.student.text.head
        heads += 2 * responses * self.teacher.text.head if objective.needs_teacher else 0
        flop = work.rollouts * (times * body + masked + gap + heads)
        return Seconds("update", flop / (work.ranks * self._rate), ASSUMED, f"{flop / 1e15:.3g} PFLOP")

    def _forward(self, shape: Shape, tokens: float, scored: float) -> float:
        """Floating-point operations of one rollout's forward pass with `scored` rows of logits."""
        text, vision, patches = shape.text, shape.vision, self.work.patches
        language = 2 * tokens * text.layers * (text.layer + text.heads * text.head_dim * tokens)
        tower = 2 * patches * vision.depth * (vision.block + 2 * vision.hidden * patches)
        tower += 2 * patches / vision.patches_per_token * vision.mergers
        return language + tower + 2 * scored * text.head

    @property
    def _rate(self) -> float:
        """Floating-point operations per second of one GPU."""
        return self.gpu.flops * self.assumed.matmul

    def _link(self, ranks: int) -> float:
        """Bytes per second at which a rank gathers the shards of the others."""
        if ranks == 1:
            return math.inf
        across = self.cfg.trainer.nnodes > 1 or self.cfg.teacher.nnodes > 1
        return self.assumed.network if across else self.gpu.link * self.assumed.link
