"""Alarms: what a person would want to be told of while a run goes on, from what its steps report.

An alarm is raised when its reading crosses its bound, and can be raised again once it has gone back. Readings are means
over the last `alarms.window` steps that have the metric, compared with a bound or with the first such window of the
run; a spike is one step against the median of the window before it. Nothing here changes a number of the training: what
must not go on at all is stopped by the checks (config/preflight.py). Imports no torch.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from verl_vaopd.algorithms.options import option

METRIC = "vaopd/alarm/"
"""What the name of a metric begins with that is 1 while an alarm stands, else 0."""


@dataclass
class AlarmOptions:
    """When a person is told of a run that goes wrong (docs/user_guide.md, Alarms). They change no number of it."""

    window: int = option(
        10, "Steps that are averaged; so many at the beginning are what later ones compare with.", at_least=1
    )
    min_visual_advantage: float = option(
        1e-3, "Mean VA below it: the teacher may be blind.", unit="nats per token", at_least=0
    )
    max_teacher_entropy: float = option(
        0.8, "Mean entropy of the teacher above this share of a uniform one: it may know nothing.", above=0, at_most=1
    )
    max_format_share: float = option(
        0.5,
        "Share of VA held by tokens without letter or digit, above which it sits in the format.",
        above=0,
        at_most=1,
    )
    max_high_tie_frac: float = option(
        0.5, "Share of the high group below 0.01 nats, above which it is made of ties.", above=0, at_most=1
    )
    entropy_change: float = option(4.0, "Times that the student's entropy may fall or rise.", above=1)
    max_repetition_frac: float = option(0.1, "Share of rollouts that repeat themselves.", above=0, at_most=1)
    length_change: float = option(2.0, "Times that the mean length of responses may fall or rise.", above=1)
    max_truncated_frac: float = option(0.2, "Share of rollouts cut by the length limit.", above=0, at_most=1)
    max_unended_frac: float = option(
        0.9, "Share of rollouts without an end token, above which there may be a wrong one.", above=0, at_most=1
    )
    max_log_prob_gap: float = option(
        0.05, "Mean |log-prob| between rollout engine and trainer; the check of that name stops.", unit="nats", above=0
    )
    gradient_spike: float = option(10.0, "Times that one gradient norm may exceed the median before it.", above=1)
    memory_growth: float = option(1.3, "Times that the host memory of a step may grow.", above=1)


@dataclass(frozen=True)
class Rule:
    """One alarm.

    Attributes:
        name: as it is told, and as METRIC + name.
        metric: what it reads.
        bound: the field of AlarmOptions.
        kind: `above` and `below` the bound; `change`: times the beginning, or its inverse; `growth`: times the
            beginning; `spike`: one step, times the median before it.
        meaning: what it says of the run.
        fix: what to try.
        of_uniform: the bound is a share of the entropy of a uniform distribution.
    """

    name: str
    metric: str
    bound: str
    kind: Literal["above", "below", "change", "growth", "spike"]
    meaning: str
    fix: str
    of_uniform: bool = False


RULES = (
    Rule(
        "teacher_blind",
        "vaopd/visual_advantage/mean",
        "min_visual_advantage",
        "below",
        "the teacher says the same without the image",
        "look whether it reads images (vaopd doctor), degrade more (view.ratio), or take questions that need the image",
    ),
    Rule(
        "teacher_uniform",
        "vaopd/entropy/teacher",
        "max_teacher_entropy",
        "above",
        "the teacher knows nearly nothing of what the student says",
        "look at teacher.path and its chat template; another teacher, or one that is trained on this kind of prompt",
        of_uniform=True,
    ),
    Rule(
        "va_in_format",
        "vaopd/visual_advantage/format_share",
        "max_format_share",
        "above",
        "visual advantage sits in punctuation, spaces and special tokens, not in words and numbers",
        "look at the dumped tokens; a prompt_suffix that both models know, another teacher, another view.kind",
    ),
    Rule(
        "high_group_of_ties",
        "vaopd/visual_advantage/high_tie_frac",
        "max_high_tie_frac",
        "above",
        "the high group is mostly tokens that hardly depend on the image, chosen by chance",
        "a smaller group (vaopd.high_frac), or a rule that leaves out ties (vaopd.high_rule=mass)",
    ),
    Rule(
        "entropy",
        "vaopd/entropy/policy",
        "entropy_change",
        "change",
        "the student's entropy collapses or blows up",
        "a lower learning rate; look at responses before going on",
    ),
    Rule(
        "repetition",
        "vaopd/repetition_frac",
        "max_repetition_frac",
        "above",
        "responses end in loops",
        "a lower learning rate, a shorter data.max_response_length, or an earlier checkpoint",
    ),
    Rule(
        "length_drift",
        "vaopd/response_length/mean",
        "length_change",
        "change",
        "responses get longer or shorter than those at the beginning",
        "compare dumped responses of both times; a teacher that answers at the length that you want",
    ),
    Rule(
        "truncation",
        "vaopd/truncated_frac",
        "max_truncated_frac",
        "above",
        "many responses are cut off before their answer",
        "raise data.max_response_length, or ask for short answers in dataset.prompt_suffix",
    ),
    Rule(
        "missing_end",
        "vaopd/truncated_frac",
        "max_unended_frac",
        "above",
        "hardly a response has an end token",
        "compare eos_token_id in generation_config.json and the chat template of student and teacher",
    ),
    Rule(
        "log_prob_gap",
        "vaopd/log_prob_gap/mean_abs",
        "max_log_prob_gap",
        "above",
        "rollout engine and trainer disagree on what the student says",
        "the same dtype for both (actor_rollout_ref.rollout.dtype), and no quantised rollouts",
    ),
    Rule(
        "gradient_spike",
        "actor/grad_norm",
        "gradient_spike",
        "spike",
        "one step's gradient is far larger than those before it",
        "look at that step's tokens; clip (actor_rollout_ref.actor.grad_clip) or lower the learning rate",
    ),
    Rule(
        "memory_growth",
        "perf/step/total_memory_gb",
        "memory_growth",
        "growth",
        "host memory grows, and the run will be killed when there is none left",
        "perf/step/*_memory_gb says which process; resume from a checkpoint before it is full",
    ),
)


@dataclass(frozen=True)
class Alarm:
    """One that was raised: which, and what was read, with its bound."""

    rule: Rule
    measured: str


class Alarms:
    """Reads the metrics of one step after the other.

    Args:
        options: `alarms` of the configuration, or an AlarmOptions.
        max_entropy: of a uniform distribution over the vocabulary, in nats.
        earlier: metrics of the steps before a resume, in order.
    """

    def __init__(self, options: Any, max_entropy: float, earlier: Iterable[Mapping[str, float | None]] = ()) -> None:
        self._options, self._max_entropy = options, max_entropy
        self._read: dict[str, list[float]] = {rule.metric: [] for rule in RULES}
        self._standing: set[str] = set()
        for metrics in earlier:
            self.read(metrics)

    def read(self, metrics: Mapping[str, float | None]) -> list[Alarm]:
        """Of one more step: the alarms that it raises. What is not finite or not there is no reading."""
        for name, readings in self._read.items():
            value = metrics.get(name)
            if value is not None and math.isfinite(value):
                readings.append(value)
        found = {rule.name: measured for rule in RULES if (measured := self._crossed(rule))}
        new = [Alarm(rule, found[rule.name]) for rule in RULES if rule.name in found.keys() - self._standing]
        self._standing = set(found)
        return new

    def metrics(self) -> dict[str, float]:
        """1 for each alarm that stands after the last step, else 0."""
        return {METRIC + rule.name: float(rule.name in self._standing) for rule in RULES}

    def _crossed(self, rule: Rule) -> str:
        """What was read, where it is past its bound; else nothing."""
        readings, window = self._read[rule.metric], self._options.window
        bound = getattr(self._options, rule.bound)
        if len(readings) < window + (rule.kind in ("change", "growth", "spike")):
            return ""
        if rule.kind == "spike":
            *before, now = readings[-window - 1 :]
            usual = statistics.median(before)
            # Of policy gradients most may be 0, where all siblings are alike: nothing is usual then.
            return f"{now:.3g}, {usual:.3g} before (at most {bound:g} times)" if 0 < bound * usual < now else ""
        now, first = statistics.fmean(readings[-window:]), statistics.fmean(readings[:window])
        if rule.kind in ("change", "growth"):
            past = 0 < bound * first < now or (rule.kind == "change" and now * bound < first)
            times = f"at most {bound:g} times" + (" more or less" if rule.kind == "change" else "")
            return f"{now:.3g}, {first:.3g} at the beginning ({times})" if past else ""
        bound *= self._max_entropy if rule.of_uniform else 1.0
        past = now > bound if rule.kind == "above" else now < bound
        return f"{now:.3g} (at {'most' if rule.kind == 'above' else 'least'} {bound:.3g})" if past else ""
