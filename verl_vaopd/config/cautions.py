"""What a valid configuration should say aloud before it starts."""

from __future__ import annotations

from omegaconf import DictConfig


def cautions(cfg: DictConfig) -> list[str]:
    """Sentences for the user: estimators whose gradient is not that of the reverse KL (docs/methods.md)."""
    loss, rollout, vaopd = cfg.loss, cfg.actor_rollout_ref.rollout, cfg.vaopd
    if loss.divergence == "top_k":
        return [
            f"loss.divergence=top_k has not the gradient of the reverse KL: beyond the teacher's {loss.top_k} "
            "likeliest tokens it sees one bucket"
        ]
    if loss.divergence not in ("k1", "k2"):
        return []
    found = []
    if rollout.temperature != 1 or rollout.top_p != 1:
        found.append(
            f"loss.divergence={loss.divergence} estimates the gradient of the reverse KL from sampled tokens, which is "
            f"biased at temperature {rollout.temperature:g} and top-p {rollout.top_p:g}; unbiased at 1 and 1"
        )
    if vaopd.rollout_weighting or vaopd.token_grouping or vaopd.mask in ("high", "low"):
        found.append(
            f"loss.divergence={loss.divergence} with token weights that depend on the sampled token has not the "
            "gradient of the weighted reverse KL"
        )
    return found
