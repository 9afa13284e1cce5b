"""Checks at the start of a run and while it runs: what one of them has found, and who has waived it.

The checks that start nothing are in config/checks/preflight.py; those that ask the running models in
trainer/preflight.py. The options are `preflight.*`, none of which changes a number of the training.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

RUNNING = (
    "teacher_sees_images",
    "visual_advantage",
    "equal_views",
    "teacher_alive",
    "teacher_scores",
    "teacher_repeats",
    "log_prob_gap",
    "responses_end",
)
"""Checks of the running models, by name."""

MEMORY = "memory"
"""The check by estimate, which needs the plan of a job (commands/checks.py)."""

PASSED, FAILED, WAIVED, WARNING, SKIPPED = "passed", "failed", "waived", "warning", "skipped"


class NotMeasured(str):
    """Why a check was not made, in the place of what it measured."""


@dataclass(frozen=True)
class Finding:
    """What one check has found.

    Attributes:
        check: its name, as `preflight.waive` takes it.
        measured: in words, with the bound; a NotMeasured where there was nothing to measure.
        passed: whether the bound is kept.
        fix: what to do where it is not.
        warned: it is kept, but not by much.
    """

    check: str
    measured: str
    passed: bool = True
    fix: str = ""
    warned: bool = False

    def outcome(self, waived: Collection[str]) -> str:
        """`passed`, `warning`, `skipped`, `failed`, or `waived` where it would have failed."""
        if self.passed:
            if isinstance(self.measured, NotMeasured):
                return SKIPPED
            return WARNING if self.warned else PASSED
        return WAIVED if self.check in waived else FAILED


class PreflightError(RuntimeError):
    """A check of the running models failed that nobody has waived."""

    def __init__(self, when: str, failed: Sequence[Finding]):
        told = "; ".join(f"{finding.check}: {finding.measured}; {finding.fix}" for finding in failed)
        names = ",".join(finding.check for finding in failed)
        super().__init__(
            f"preflight, {when}: {told}. The same command resumes once that is mended; preflight.waive=[{names}] goes "
            "on in spite of it"
        )
        self.arguments = when, failed

    def __reduce__(self) -> tuple:
        return type(self), self.arguments
