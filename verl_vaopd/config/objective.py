"""What a method is, in the words of the configuration: the one place that says what it needs.

    loss = sum(token_weights * divergence)            distillation: VA-OPD, OPD and its kin, off-policy KD, SFT
         + reward_coef * verl's policy loss           GRPO and PAPO; mixed into distillation by `loss.reward_coef`
         + PAPO's perception terms

Trainer, agent loops, workers, engines and loss ask this object instead of comparing names or reading keys: a method is
a recipe. Imports neither torch nor verl.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from omegaconf import DictConfig

from verl_vaopd.algorithms.divergences import Divergence, divergence_from
from verl_vaopd.algorithms.measuring import Measuring
from verl_vaopd.algorithms.weightings import WEIGHTINGS, Uniform, Weighting


@dataclass(frozen=True)
class Objective:
    """Picklable. The defaults are an engine that only reports log-probs: a reference policy.

    Attributes:
        divergence: what token weights weigh; None without distillation.
        weighting: makes the token weights.
        measuring: what visual advantage is, and which tokens are high in it.
        measures_advantage: training rollouts are scored on the degraded view too, to weigh by visual advantage or to
            monitor it. Held-out rollouts always are.
        token_clip, reward_coef: see schema.LossConfig.
        use_reference: verl's policy loss has a KL to the initial policy.
        policy_temperature: what rollouts are sampled at. The policy gradient is that of the sampling distribution;
            the divergence has a temperature of its own.
        perception_coef, entropy_coef, masked_gradient: see schema.PapoConfig.
        stored_responses: the tokens are not the student's own.
        privileged: the teacher's prompts hold the reference solution.
        ema_decay: the teacher follows the student as a moving average with this decay; None: it is frozen.
    """

    divergence: Divergence | None = None
    weighting: Weighting = field(default_factory=Uniform)
    measuring: Measuring = field(default_factory=Measuring)
    measures_advantage: bool = False
    token_clip: float | None = None
    reward_coef: float = 0.0
    use_reference: bool = False
    policy_temperature: float = 1.0
    perception_coef: float = 0.0
    entropy_coef: float = 0.0
    masked_gradient: bool = False
    stored_responses: bool = False
    privileged: bool = False
    ema_decay: float | None = None

    @classmethod
    def from_config(cls, config: DictConfig) -> Objective:
        """The objective of a job configuration."""
        loss, papo = config.loss, config.papo
        return cls(
            divergence=divergence_from(loss.divergence, loss),
            weighting=weighting_from(config),
            measuring=Measuring(**{option.name: config.vaopd[option.name] for option in fields(Measuring)}),
            measures_advantage=config.method.degraded_view,
            token_clip=loss.token_clip,
            reward_coef=loss.reward_coef,
            use_reference=config.actor_rollout_ref.actor.use_kl_loss,
            policy_temperature=config.actor_rollout_ref.rollout.temperature,
            perception_coef=papo.perception_coef,
            entropy_coef=papo.entropy_coef,
            masked_gradient=papo.masked_gradient,
            stored_responses=config.method.stored_responses,
            privileged=config.privilege.reference is not None,
            ema_decay=config.teacher.ema_decay,
        )

    @property
    def distils(self) -> bool:
        """Whether tokens have weights and a divergence."""
        return self.divergence is not None

    @property
    def needs_teacher(self) -> bool:
        """Whether the teacher's distribution enters the loss."""
        return self.divergence is not None and self.divergence.needs_teacher

    @property
    def scores_rollouts(self) -> bool:
        """Whether the teacher scores training rollouts: for the loss, or to measure visual advantage."""
        return self.needs_teacher or self.measures_advantage

    @property
    def needs_gap(self) -> bool:
        """Whether visual advantage is of whole distributions: one more pass of the student before the update."""
        return self.measuring.advantage == "divergence_gap"

    @property
    def needs_masked_view(self) -> bool:
        """Whether the student sees the masked images too."""
        return self.perception_coef != 0 or self.entropy_coef != 0

    @property
    def needs_policy(self) -> bool:
        """Whether the log-probs of the sampling distribution enter the loss."""
        return self.reward_coef != 0 or self.needs_masked_view

    @property
    def outputs(self) -> frozenset[str]:
        """What a training pass of the student has to yield, with gradient."""
        wanted = {"divergence": self.distils, "policy_log_probs": self.needs_policy}
        return frozenset(name for name, needed in wanted.items() if needed)


def weighting_from(config: DictConfig) -> Weighting:
    """The weighting of a job configuration, with its options."""
    cls = WEIGHTINGS[config.weighting.name]
    return cls(**{option.name: config.weighting[option.name] for option in fields(cls)})
