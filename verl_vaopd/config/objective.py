"""What one update minimises, in the words of the configuration: the one place that says what a method needs.

    loss = sum(token_weights * divergence)            distillation: VA-OPD, OPD and its kin, off-policy KD, SFT
         + reward_coef * verl's policy loss           GRPO and PAPO; mixed into distillation by `loss.reward_coef`
         + PAPO's perception terms

Trainer, worker, engine and loss ask this object instead of comparing method names: a method is a recipe.
"""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import DictConfig

from verl_vaopd.config.schema import ESTIMATORS, EXACT_DIVERGENCES, LossConfig


@dataclass(frozen=True)
class Objective:
    """Picklable. The defaults are an engine that only reports log-probs: a reference policy.

    Attributes:
        divergence: one of schema.DIVERGENCES, or None without distillation.
        js_beta, top_k, token_clip, reward_coef: see schema.LossConfig.
        use_reference: verl's policy loss has a KL to the initial policy.
        policy_temperature: what rollouts are sampled at. The policy gradient is that of the sampling distribution;
            divergences are at temperature 1.
        perception_coef, entropy_coef, masked_gradient: see schema.PapoConfig.
        stored_responses: the tokens are not the student's own.
    """

    divergence: str | None = None
    js_beta: float = LossConfig.js_beta
    top_k: int = LossConfig.top_k
    token_clip: float | None = None
    reward_coef: float = 0.0
    use_reference: bool = False
    policy_temperature: float = 1.0
    perception_coef: float = 0.0
    entropy_coef: float = 0.0
    masked_gradient: bool = False
    stored_responses: bool = False

    @classmethod
    def from_config(cls, config: DictConfig) -> Objective:
        """The objective of a job configuration."""
        loss, papo = config.loss, config.papo
        return cls(
            divergence=loss.divergence,
            js_beta=loss.js_beta,
            top_k=loss.top_k,
            token_clip=loss.token_clip,
            reward_coef=loss.reward_coef,
            use_reference=config.actor_rollout_ref.actor.use_kl_loss,
            policy_temperature=config.actor_rollout_ref.rollout.temperature,
            perception_coef=papo.perception_coef,
            entropy_coef=papo.entropy_coef,
            masked_gradient=papo.masked_gradient,
            stored_responses=config.method.stored_responses,
        )

    @property
    def distils(self) -> bool:
        """Whether tokens have weights and a divergence."""
        return self.divergence is not None

    @property
    def needs_teacher(self) -> bool:
        """Whether the teacher's distribution enters the loss."""
        return self.divergence in (*EXACT_DIVERGENCES, *ESTIMATORS)

    @property
    def needs_policy(self) -> bool:
        """Whether the log-probs of the sampling distribution enter the loss."""
        return self.reward_coef != 0 or self.needs_masked_view

    @property
    def outputs(self) -> frozenset[str]:
        """What a training pass of the student has to yield, with gradient."""
        wanted = {"divergence": self.distils, "policy_log_probs": self.needs_policy}
        return frozenset(name for name, needed in wanted.items() if needed)

    @property
    def needs_masked_view(self) -> bool:
        """Whether the student sees the masked images too."""
        return self.perception_coef != 0 or self.entropy_coef != 0
