"""Asks the running models what trainer/preflight.py checks: before the first step, after the first update, every step.

The start is checked on a few training prompts, one response each, sampled as in training. The same responses are
scored again after the first update, when student, teacher and rollout engine have each slept and woken once. What every
step has anyway is checked at every step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from transfer_queue import KVBatchMeta
from verl.utils.dataset.rl_dataset import collate_fn

from verl_vaopd.config.preflight import FAILED, PASSED, SKIPPED, Finding, PreflightError
from verl_vaopd.engine import fields
from verl_vaopd.rollout.agent_loop import AS_IN_TRAINING
from verl_vaopd.rollout.dataset import PromptDataset
from verl_vaopd.runs.events import EventLog
from verl_vaopd.teacher.request import ScoreRequest
from verl_vaopd.trainer import preflight, rows
from verl_vaopd.trainer.failures import require_few_failures
from verl_vaopd.trainer.rollouts import Rollouts
from verl_vaopd.trainer.validation import Validation
from verl_vaopd.trainer.weighing import SOURCES, advantage_of

LOOKED_AT = 256
"""Prompts among which those with an image are looked for."""
BOTH_VIEWS = SOURCES["sampled"]
"""Fields of the teacher's log-probs, of the clean and of the degraded view."""
GAP_METRICS = ("vaopd/log_prob_gap/mean_abs", "vaopd/log_prob_gap/max_abs")

Scores = tuple[torch.Tensor, torch.Tensor]
"""The teacher's log-probs [N, T] of the clean and of the other view."""


@dataclass(kw_only=True)
class Preflight:
    """The checks of one launch.

    Attributes:
        validation: samples and scores, and has the models.
        prompts: the training set.
        vocab_size: ids of the tokenizer.
        image_token_id: what a prompt with an image holds.
        events: is told every finding.
    """

    validation: Validation
    prompts: PromptDataset
    vocab_size: int
    image_token_id: int
    events: EventLog
    _kept: tuple[KVBatchMeta, Rollouts] | None = None
    """The responses of the start, padding rows included, until the first update; and what was known of them."""
    _told: set[tuple[str, str]] = field(default_factory=set)
    _num_steps: int = 0

    def before_training(self, step: int) -> None:
        """All checks, on responses to a few training prompts. Raises PreflightError."""
        ask = self.validation
        batch = ask.sample(self._prompts(), step)
        limit = ask.config.run.max_dropped_frac
        require_few_failures(ask.agent_loops, len(batch), ask.config.preflight.num_prompts, limit, "preflight")
        rows.require_rollouts(len(batch))
        ask.checkpoint_manager.sleep_replicas()
        self._check_start(batch)
        ask.checkpoint_manager.update_weights(step)

    def after_update(self) -> None:
        """Once, after the first update: the teacher still says what it said. Raises PreflightError."""
        if self._kept is None:
            return
        padded, rollouts = self._kept
        self._kept = None
        clean, same = self._scores(padded, len(rollouts.uid))
        rows.clear(padded)
        mask, ask = rollouts.response_mask, self.validation
        frozen = ask.objective.ema_decay is None
        before = rollouts.per_token[fields.TEACHER_LOG_PROBS]
        self._conclude(
            "after the first update",
            [
                preflight.teacher_alive(clean, mask, self.vocab_size),
                preflight.equal_views(clean, same, mask),
                preflight.teacher_repeats(before, clean, mask, ask.config.teacher.dtype, frozen),
            ],
        )

    def of_scores(self, step: int, batch: KVBatchMeta, load: Callable[[Sequence[str]], Rollouts]) -> Rollouts:
        """Every step, before its update: what the teacher has said of the real rows of `batch`.

        Args:
            load: gives the step's rollouts with these per-token fields.
        Raises PreflightError.
        """
        when = f"step {step}"
        num_tokens = [tag["response_len"] for tag in batch.tags]
        self._conclude(
            when, [preflight.teacher_scores(rows.lengths(batch, fields.TEACHER_LOG_PROBS), num_tokens)], quiet=True
        )
        rollouts = load([fields.TEACHER_LOG_PROBS])
        known, mask = rollouts.per_token, rollouts.response_mask
        findings = [preflight.teacher_alive(known[fields.TEACHER_LOG_PROBS], mask, self.vocab_size)]
        if "visual_advantage" in known:
            findings.append(preflight.visual_advantage(known["visual_advantage"], mask, self._seen(rollouts)))
        self._conclude(when, findings, quiet=True)
        return rollouts

    def of_step(self, step: int, rollouts: Rollouts, metrics: dict[str, float]) -> None:
        """Every step, by what it reports: the rollout engine has the trainer's weights; at the first, responses end.

        Raises PreflightError.
        """
        self._num_steps += 1
        config, findings = self.validation.config, []
        if all(name in metrics for name in GAP_METRICS):
            mean, largest = (metrics[name] for name in GAP_METRICS)
            dtype, bound = config.actor_rollout_ref.rollout.dtype, config.preflight.max_log_prob_gap
            findings.append(preflight.gap_finding(mean, largest, dtype, bound))
        if self._num_steps == 1:
            findings.append(self._responses_end(rollouts, config.preflight.max_truncated_frac))
        # The second step's rollouts are the first that an updated student has sampled.
        self._conclude(f"step {step}", findings, quiet=self._num_steps > 2)

    def _prompts(self) -> dict[str, Any]:
        """The first training prompts with an image, or without where there is none."""
        number = self.validation.config.preflight.num_prompts
        places = range(min(len(self.prompts), LOOKED_AT))
        chosen = list(islice((place for place in places if _has_image(self.prompts[place])), number))
        chosen += [place for place in places if place not in chosen][: number - len(chosen)]
        prompts: dict[str, Any] = collate_fn([self.prompts[place] for place in chosen])
        prompts[AS_IN_TRAINING] = np.array([True] * len(chosen), dtype=object)
        return prompts

    def _check_start(self, batch: KVBatchMeta) -> None:
        ask, when = self.validation, "before the first step"
        config = ask.config
        padded = ask.padded(batch)
        ask.teacher.score(padded, ScoreRequest(degraded_view=True, keep_hidden_states=True))
        ask.student_group.forward_tokens(rows.request(padded, ask.teacher.forward_fields(scored=True)))
        num_tokens = [tag["response_len"] for tag in batch.tags]
        complete = preflight.teacher_scores(rows.lengths(batch, fields.TEACHER_LOG_PROBS), num_tokens)
        self._conclude(when, [complete])
        asked = [*BOTH_VIEWS, fields.STUDENT_LOG_PROBS, fields.TEACHER_ENTROPY, fields.ROLLOUT_LOG_PROBS]
        rollouts = rows.load_rollouts(batch, ask.eos_token_ids, asked)
        known, mask, seen = rollouts.per_token, rollouts.response_mask, self._seen(rollouts)
        clean, blank = self._with_view(padded, len(batch), _blank)
        again, same = self._with_view(padded, len(batch), dict)
        self._kept = padded, rollouts
        before, dtype = known[fields.TEACHER_LOG_PROBS], config.teacher.dtype
        self._conclude(
            when,
            [
                preflight.teacher_alive(before, mask, self.vocab_size, known[fields.TEACHER_ENTROPY]),
                preflight.teacher_repeats(before, clean, mask, dtype),
                preflight.teacher_sees_images(clean, blank, mask, seen),
                preflight.visual_advantage(advantage_of(rollouts, "sampled"), mask, seen),
                preflight.equal_views(again, same, mask),
                preflight.log_prob_gap(
                    known[fields.STUDENT_LOG_PROBS],
                    known[fields.ROLLOUT_LOG_PROBS],
                    mask,
                    config.actor_rollout_ref.rollout.dtype,
                    config.preflight.max_log_prob_gap,
                ),
                # So few responses stop a run only if all of them are cut.
                self._responses_end(rollouts, max(config.preflight.max_truncated_frac, 1 - 1 / len(batch))),
            ],
        )

    def _responses_end(self, rollouts: Rollouts, max_frac: float) -> Finding:
        config = self.validation.config
        return preflight.responses_end(
            rollouts.truncated, config.preflight.warn_truncated_frac, max_frac, config.data.max_response_length
        )

    def _with_view(
        self, padded: KVBatchMeta, num_real: int, change: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> Scores:
        """The scores with what `change` makes of the clean images as the other view."""
        found = rows.fetch(padded, [fields.IMAGES, fields.DEGRADED_INPUTS])
        # Degrading keeps an image's size, so that positions are those of the clean one.
        views = [
            {**change(clean), fields.POSITION_IDS: degraded[fields.POSITION_IDS]} if clean else {}
            for clean, degraded in zip(found[fields.IMAGES], found[fields.DEGRADED_INPUTS], strict=True)
        ]
        rows.store_views(padded, fields.DEGRADED_INPUTS, views)
        return self._scores(padded, num_real)

    def _scores(self, padded: KVBatchMeta, num_real: int) -> Scores:
        self.validation.teacher.score(padded, ScoreRequest.for_heldout())
        real = rows.select(padded, range(num_real))
        found = rows.fetch(real, BOTH_VIEWS)
        return found[fields.TEACHER_LOG_PROBS], found[fields.DEGRADED_TEACHER_LOG_PROBS]

    def _seen(self, rollouts: Rollouts) -> torch.Tensor:
        """[N] bool: which prompts have an image."""
        return (rollouts.prompts == self.image_token_id).any(dim=1)

    def _conclude(self, when: str, findings: Sequence[Finding], quiet: bool = False) -> None:
        """Tell what was found, and raise for what failed.

        Args:
            quiet: what passed is not told, and what was waived once.
        """
        waived = list(self.validation.config.preflight.waive)
        for finding in findings:
            outcome = finding.outcome(waived)
            if quiet and (outcome in (PASSED, SKIPPED) or (finding.check, outcome) in self._told):
                continue
            self._told.add((finding.check, outcome))
            fix = {} if finding.passed and not finding.warned else {"fix": finding.fix}
            self.events.write(
                "preflight", check=finding.check, when=when, measured=finding.measured, outcome=outcome, **fix
            )
        failed = [finding for finding in findings if finding.outcome(waived) == FAILED]
        if failed:
            raise PreflightError(when, failed)


def _blank(inputs: dict[str, Any]) -> dict[str, Any]:
    """What the processor makes of a grey image of the same size: pixels are normalised around 0."""
    return {**inputs, "pixel_values": torch.zeros_like(inputs["pixel_values"])}


def _has_image(prompt: dict[str, Any]) -> bool:
    contents = (message["content"] for message in prompt["raw_prompt"] if not isinstance(message["content"], str))
    return any(part["type"] == "image" for content in contents for part in content)
