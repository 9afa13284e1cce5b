"""What the teacher is asked to do with rollouts: said by the trainer, carried beside the batch, done by the engine."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from verl_vaopd.config.objective import Objective
from verl_vaopd.engine import fields


@dataclass(frozen=True)
class ScoreRequest:
    """The log-probs of the clean view, and what else.

    Attributes:
        degraded_view: log-probs on the degraded images too.
        keep_hidden_states: the next pass of the student over the same rows finds the teacher's states.
        keep_degraded_hidden_states: and those of the degraded view.
        privileged: the teacher's prompts hold the reference solution.
    """

    degraded_view: bool
    keep_hidden_states: bool
    keep_degraded_hidden_states: bool = False
    privileged: bool = False

    @classmethod
    def for_training(cls, objective: Objective) -> ScoreRequest:
        """All that the objective needs before the update."""
        return cls(
            degraded_view=objective.measures_advantage,
            keep_hidden_states=True,
            keep_degraded_hidden_states=objective.measures_advantage and objective.needs_gap,
            privileged=objective.privileged,
        )

    @classmethod
    def for_heldout(cls) -> ScoreRequest:
        """Both views of every held-out rollout."""
        return cls(degraded_view=True, keep_hidden_states=False)

    @classmethod
    def for_heldout_dump(cls, objective: Objective) -> ScoreRequest:
        """Both views, and what the student's divergences need, by the objective's visual advantage."""
        return cls(degraded_view=True, keep_hidden_states=True, keep_degraded_hidden_states=objective.needs_gap)

    @property
    def reads(self) -> list[str]:
        """What the teacher reads of a rollout."""
        views = {fields.DEGRADED_INPUTS: self.degraded_view, fields.PRIVILEGED_INPUTS: self.privileged}
        return [*fields.FORWARD, fields.IMAGES, *(field for field, is_read in views.items() if is_read)]

    @property
    def settings(self) -> dict[str, bool]:
        """What travels beside the batch; that the prompts are privileged shows in its fields."""
        settings = asdict(self)
        del settings["privileged"]
        return settings
