"""The points of a two-stage training, measured on the same questions.

`init`: the student as it was; `boundary`: the checkpoint of stage 1 that stage 2 starts from; `end`: the selected
checkpoint of stage 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from verl_vaopd.analysis.runs import Answers, in_common, read_answers
from verl_vaopd.stats.estimates import Estimate, estimate_mean
from verl_vaopd.stats.pass_at_k import estimate_distinct_answers, estimate_pass_at_k
from verl_vaopd.stats.seeds import SeedEstimate, paired_difference

POINTS = ("init", "boundary", "end")


@dataclass(frozen=True)
class Measured:
    """A point on one split.

    Attributes:
        accuracy: mean over samples, which is pass@1.
        pass_at: pass@1 to pass@n.
        distinct: different answers among n.
        entropy: of the policy, nats per token: mean over a sample's tokens, then samples, then questions.
    """

    point: str
    split: str
    accuracy: Estimate
    pass_at: tuple[Estimate, ...]
    distinct: Estimate
    entropy: Estimate


@dataclass(frozen=True)
class Change:
    """Accuracy of the later point minus that of the earlier one, paired by question."""

    earlier: str
    later: str
    split: str
    accuracy: SeedEstimate


def measure(runs: Mapping[str, Path], splits: Sequence[str]) -> tuple[list[Measured], list[Change]]:
    """Every point on every split, and the changes from point to point and from init to end.

    Args:
        runs: {point: finished validation-only run}, whose answers are those of step 0.
        splits: the in-domain one first.
    """
    measured, changes = [], []
    for split in splits:
        answers = in_common(read_answers(runs[point], 0, split) for point in POINTS)
        at = dict(zip(POINTS, answers, strict=True))
        measured += [_measure(point, split, at[point]) for point in POINTS]
        for earlier, later in (*pairwise(POINTS), (POINTS[0], POINTS[-1])):
            difference = paired_difference([at[later].accuracy], [at[earlier].accuracy])
            changes.append(Change(earlier, later, split, difference))
    return measured, changes


def _measure(point: str, split: str, answers: Answers) -> Measured:
    num_samples = answers.accuracy.shape[1]
    return Measured(
        point,
        split,
        accuracy=estimate_mean(answers.accuracy),
        pass_at=tuple(estimate_pass_at_k(answers.accuracy, k) for k in range(1, num_samples + 1)),
        distinct=estimate_distinct_answers(answers.answers, num_samples),
        entropy=estimate_mean(answers.entropy),
    )
