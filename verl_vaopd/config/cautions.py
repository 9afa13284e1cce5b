"""What a valid configuration should say aloud before it starts."""

from __future__ import annotations

from omegaconf import DictConfig

from verl_vaopd.algorithms.divergences import SampledDivergence, divergence_from
from verl_vaopd.config.objective import weighting_from


def cautions(cfg: DictConfig) -> list[str]:
    """Sentences for the user: estimators whose gradient is not that of the reverse KL (docs/methods.md)."""
    loss = cfg.loss
    divergence = divergence_from(loss.divergence, loss)
    if divergence is None or not divergence.stands_for_reverse_kl:
        return []
    if isinstance(divergence, SampledDivergence):
        reasons = _biases_of_sampled_tokens(cfg)
    else:
        reasons = [divergence.blindness.format(**vars(divergence))]
    return [f"loss.divergence={loss.divergence} has not the gradient of the reverse KL: {'; '.join(reasons)}"]


def _biases_of_sampled_tokens(cfg: DictConfig) -> list[str]:
    """Why the gradient at sampled tokens is not on average that of the weighted reverse KL; never empty.

    Even weights of 1 / length depend on the sampled tokens: the one that ends a response decides its length.
    """
    rollout, reasons = cfg.actor_rollout_ref.rollout, []
    if cfg.method.stored_responses:
        reasons.append("the stored tokens are the teacher's, not the student's")
    elif rollout.temperature != cfg.loss.temperature or rollout.top_p != 1 or rollout.top_k > 0:
        reasons.append(
            f"tokens are sampled at temperature {rollout.temperature:g}, top-p {rollout.top_p:g} and top-k "
            f"{rollout.top_k}, not from the whole distribution at loss.temperature={cfg.loss.temperature:g}"
        )
    by_advantage = weighting_from(cfg).needs_visual_advantage
    dependence = "by the length of the response" + (" and by visual advantage" if by_advantage else "")
    reasons.append(f"token weights depend on the sampled tokens, {dependence}")
    if cfg.loss.token_clip is not None:
        reasons.append(f"loss.token_clip={cfg.loss.token_clip:g} cuts off what a single token gives")
    return reasons
