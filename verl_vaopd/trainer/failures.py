"""Rollouts that failed: counted with their reasons, told, and too many of them end the run.

A rollout fails by an exception in its agent loop: in the prompt, in an image, in the reward. verl logs it and goes on
without. What is left is no sample of the policy then: where the reward of every right answer failed, only wrong ones
would train.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple, Protocol


class Failing(Protocol):
    """Who knows of failures: rollout/agent_loop.ViewAgentLoopManager."""

    def take_failures(self) -> Counter[str]:
        """How often each reason ended a rollout, since the last call."""


class Failures(NamedTuple):
    """How many rollouts failed, and a sentence about them for a reader."""

    num: int = 0
    told: str = ""


def require_few_failures(agent_loops: Failing, num_arrived: int, num_asked: int, limit: float, what: str) -> Failures:
    """Ask for the failures where rollouts are missing.

    Args:
        num_arrived, num_asked: rollouts; fewer may be asked for where responses are stored.
        limit: run.max_dropped_frac.
        what: of which rollouts, for a reader.
    Raises:
        RuntimeError: more than `limit` of the rollouts have failed.
    """
    reasons = agent_loops.take_failures() if num_arrived < num_asked else Counter()
    num_failed = reasons.total()
    if not num_failed:
        return Failures()
    reason, count = reasons.most_common(1)[0]
    told = f"{what}: {num_failed} of {num_failed + num_arrived} rollouts failed, {count} of them by {reason}"
    if num_failed > limit * (num_failed + num_arrived):
        raise RuntimeError(
            f"{told}; expected at most {100 * limit:g} % (run.max_dropped_frac): what is left is no fair sample; "
            "mend the cause (tracebacks are in train.log), or raise run.max_dropped_frac; the same command resumes"
        )
    return Failures(num_failed, told)
