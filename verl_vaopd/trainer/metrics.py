"""What one training step reports: pure functions from the step's tensors to a flat dict of floats.

Axes: N rollouts of all prompts, T tokens.

metric_names.METRICS names every key with its meaning and unit; the functions here return exactly the keys of their
table. A number that does not exist at a step (the accuracy of rollouts nobody scored, the mean over an empty group) is
NaN; a quantity that the method does not produce has no key.

Padding rows are counted in `vaopd/num_padding_rows` and in nothing else. All sums are taken in float64. No gradient.

Repetition: a rollout is repetitive if at least half of the 4-grams in its last 64 tokens occurred earlier within them,
the sequence repetition seq-rep-4 of Welleck et al. 2019 (arXiv:1908.04319) on the tail, where a loop shows.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Literal

import torch

from verl_vaopd.algorithms import checks
from verl_vaopd.algorithms.token_weights import high_group as high_group_of
from verl_vaopd.algorithms.visual_advantage import sibling_table
from verl_vaopd.runs.metric_names import MEMORY, PASS_THROUGH_METRICS, PHASES
from verl_vaopd.trainer.rollouts import Rollouts

REPETITION_WINDOW = 64
REPETITION_NGRAM = 4
REPETITION_THRESHOLD = 0.5
TIE = 0.01
"""Nats of visual advantage that are next to none."""


@torch.no_grad()
def distillation_metrics(rollouts: Rollouts) -> dict[str, float]:
    """Loss, divergences, visual advantage, weights and entropies of one step, as far as the method has them.

    Sibling weights are read off token_weights (sum over a rollout's tokens, over its prompt's sum), so they are the
    weights that were applied, whatever the method.

    Args:
        rollouts: of one step, with student_entropy, student_log_probs (before the update) and, of what else is known
            per token, divergence and token_weights, reverse_kl and teacher_entropy, visual_advantage and high_group in
            pairs. Values outside the mask are ignored, NaN included. student_log_probs and rollout_log_probs must be of
            ONE distribution, or the gap measures the difference of the definitions: an engine that reports processed
            log-probs has applied the sampling temperature and renormalised within top-p, so the trainer's must be taken
            at that temperature, and top-p < 1 still leaves up to -log(top_p) nats.
    Returns: the keys of POLICY_METRICS; of LOG_PROB_GAP_METRICS with rollout_log_probs; of WEIGHT_METRICS with
        token_weights; of TEACHER_METRICS with reverse_kl; of VISUAL_ADVANTAGE_METRICS with visual_advantage, of which
        those about reverse KL only with both.
    Raises:
        ValueError: an empty response, a prompt whose token weights sum to 0, non-finite visual_advantage at a valid
            token.
    """
    mask = checks.valid_tokens(rollouts.response_mask)
    # Padding may hold anything, and NaN * 0 is NaN: it is replaced, not multiplied away.
    clean = {name: torch.where(mask, values.double(), 0.0) for name, values in rollouts.per_token.items()}

    metrics = {"vaopd/entropy/policy": _mean_over(clean["student_entropy"], mask)}
    if "rollout_log_probs" in clean:
        gap = (clean["student_log_probs"] - clean["rollout_log_probs"])[mask]
        metrics |= {
            "vaopd/log_prob_gap/mean_abs": gap.abs().mean().item(),
            "vaopd/log_prob_gap/max_abs": gap.abs().max().item(),
            # Tokens come from the rollout engine, so E[r - 1 - log r], r = trainer / engine, is KL(engine || trainer).
            "vaopd/log_prob_gap/kl_k3": (torch.expm1(gap) - gap).mean().item(),
        }
    if "token_weights" in clean:
        metrics["vaopd/loss"] = (clean["token_weights"] * clean["divergence"]).sum().item()
        metrics |= _rollout_weight_metrics(clean["token_weights"].sum(dim=1), rollouts.uid)
    if "reverse_kl" in clean:
        metrics["vaopd/reverse_kl/all"] = _mean_over(clean["reverse_kl"], mask)
        metrics["vaopd/entropy/teacher"] = _mean_over(clean["teacher_entropy"], mask)
    if "visual_advantage" in clean:
        high = clean["high_group"].bool()
        metrics |= _visual_advantage_metrics(clean["visual_advantage"], clean.get("reverse_kl"), mask, high)
    return metrics


@torch.no_grad()
def format_metrics(rollouts: Rollouts, is_format: torch.Tensor) -> dict[str, float]:
    """How much of the visual advantage is held by tokens that say nothing by themselves.

    Args:
        rollouts: of one step, with visual_advantage.
        is_format: [V] bool, of every token id (reporting.format_tokens).
    Returns: the keys of FORMAT_METRICS.
    """
    mask = rollouts.response_mask.bool()
    advantage = rollouts.per_token["visual_advantage"][mask].double()
    in_format = is_format[rollouts.responses[mask]]
    return {"vaopd/visual_advantage/format_share": (advantage[in_format].sum() / advantage.sum()).item()}


@torch.no_grad()
def rollout_metrics(
    rollouts: Rollouts,
    *,
    num_dropped_prompts: int,
    num_dropped_rollouts: int,
    num_unscored_rewards: int,
    num_filtered_prompts: int,
    num_padding_rows: int,
) -> dict[str, float]:
    """Lengths, truncation, repetition, accuracy and counts of one step's rollouts, whatever the method.

    Args:
        num_dropped_prompts: prompts of the step of which no rollout is here.
        num_dropped_rollouts: rollouts of the step that failed.
        num_unscored_rewards: answers of the step whose scoring a limit ended.
        num_filtered_prompts: prompts of the step that the method left out of the update.
        num_padding_rows: rows the trainer added and that are not here.
    Returns: the keys of ROLLOUT_METRICS.
    Raises:
        ValueError: an empty response.
    """
    mask, accuracy = checks.valid_tokens(rollouts.response_mask), rollouts.accuracy
    lengths = mask.sum(dim=1).double()
    repetition = repeated_ngram_frac(rollouts.responses, mask)
    unscored = accuracy.isnan()
    return {
        "vaopd/response_length/mean": lengths.mean().item(),
        "vaopd/response_length/min": lengths.min().item(),
        "vaopd/response_length/max": lengths.max().item(),
        "vaopd/truncated_frac": rollouts.truncated.double().mean().item(),
        "vaopd/repetition_frac": (repetition >= REPETITION_THRESHOLD).double().mean().item(),
        "vaopd/rollout_accuracy": accuracy[~unscored].double().mean().item(),
        "vaopd/num_unscored_rollouts": float(unscored.sum()),
        "vaopd/num_prompts": float(len(sibling_table(rollouts.uid, len(mask)))),
        "vaopd/num_rollouts": float(len(mask)),
        "vaopd/num_dropped_prompts": float(num_dropped_prompts),
        "vaopd/num_dropped_rollouts": float(num_dropped_rollouts),
        "vaopd/num_unscored_rewards": float(num_unscored_rewards),
        "vaopd/num_filtered_prompts": float(num_filtered_prompts),
        "vaopd/num_padding_rows": float(num_padding_rows),
    }


@torch.no_grad()
def repeated_ngram_frac(
    response_ids: torch.Tensor,
    response_mask: torch.Tensor,
    window: int = REPETITION_WINDOW,
    ngram: int = REPETITION_NGRAM,
) -> torch.Tensor:
    """Share of the n-grams among a rollout's last tokens that occurred earlier among them.

    1 - (different n-grams) / (n-grams); a loop of period p over 64 tokens gives 1 - p / 61 for n = 4.

    Args:
        response_ids: [N, T] integer token ids; ignored where response_mask is 0.
        response_mask: [N, T] bool or 0/1.
        window: number of last response tokens looked at; a shorter response is taken whole.
        ngram: n.
    Returns: [N] float64 in [0, 1); 0 for a response shorter than n tokens.
    """
    mask = checks.valid_tokens(response_mask)
    # Valid tokens to the right end, in order; then the last `window` columns hold each rollout's tail.
    order = mask.to(torch.uint8).sort(dim=1, stable=True).indices[:, -window:]
    if order.shape[1] < ngram:
        return torch.zeros(len(mask), dtype=torch.float64, device=mask.device)
    grams = response_ids.gather(1, order).unfold(1, ngram, 1)
    # An n-gram is valid if its first token is, since valid tokens come last; so whatever repeats a valid one is valid.
    valid = mask.gather(1, order)[:, : grams.shape[1]]
    equal = (grams[:, :, None] == grams[:, None, :]).all(dim=-1) & valid[:, None, :]
    repeated = equal.tril(diagonal=-1).any(dim=2)
    return repeated.sum(dim=1).double() / valid.sum(dim=1).clamp_min(1)


def throughput_metrics(
    timing: Mapping[str, float],
    tokens: Mapping[str, float],
    pass_through: Mapping[str, float],
) -> dict[str, float]:
    """Seconds and tokens per second of each phase, beside what verl's workers measured.

    Args:
        timing: seconds by phase (keys of PHASES); a phase that did not run at this step is absent.
        tokens: tokens that a phase worked on, by phase; a phase that has no tokens (weight_sync) is absent.
        pass_through: values of PASS_THROUGH_METRICS, returned unchanged.
    Returns: perf/<phase>/seconds for timing, perf/<phase>/tokens_per_second for tokens, and pass_through.
    Raises:
        ValueError: an unknown phase or name, or tokens of a phase that was not timed.
    """
    _require_known("timing", timing, PHASES)
    _require_known("tokens", tokens, timing)
    _require_known("pass_through", pass_through, PASS_THROUGH_METRICS)
    metrics = {f"perf/{phase}/seconds": float(seconds) for phase, seconds in timing.items()}
    for phase, count in tokens.items():
        metrics[f"perf/{phase}/tokens_per_second"] = count / timing[phase] if timing[phase] > 0 else float("nan")
    return metrics | {name: float(value) for name, value in pass_through.items()}


def memory_metrics(phase: Literal["step", "validation"], peaks: Mapping[str, float]) -> dict[str, float]:
    """perf/<phase>/<kind>_memory_gb from peaks [GiB] by kind of process. Raises ValueError for an unknown kind."""
    _require_known("peaks", peaks, MEMORY)
    return {f"perf/{phase}/{kind}_memory_gb": value for kind, value in peaks.items()}


def _rollout_weight_metrics(rollout_sums: torch.Tensor, uid: Sequence[Hashable] | torch.Tensor) -> dict[str, float]:
    """Metrics of the weights of siblings, from the [N] sums of token weights per rollout."""
    siblings = sibling_table(uid, len(rollout_sums)).to(rollout_sums.device)
    present = siblings >= 0
    sums = torch.where(present, rollout_sums[siblings], 0.0)
    prompt_sums = sums.sum(dim=1, keepdim=True)
    if (prompt_sums <= 0).any():
        row = int(siblings[(prompt_sums <= 0).flatten().nonzero()[0, 0], 0])
        raise ValueError(
            f"token_weights: the rollouts of prompt {uid[row]!r} sum to 0, expected 1 / number of prompts; "
            "leave padding rows out before this call"
        )
    weights = sums / prompt_sums
    return {
        "vaopd/rollout_weights/min": weights[present].min().item(),
        "vaopd/rollout_weights/max": weights[present].max().item(),
        "vaopd/rollout_weights/effective_siblings": (1.0 / weights.square().sum(dim=1)).mean().item(),
    }


def _visual_advantage_metrics(
    visual_advantage: torch.Tensor, reverse_kl: torch.Tensor | None, mask: torch.Tensor, high: torch.Tensor
) -> dict[str, float]:
    top10, top20 = (high_group_of(visual_advantage, mask, share) for share in (0.1, 0.2))
    total = visual_advantage[mask].sum()
    metrics = {
        "vaopd/visual_advantage/mean": _mean_over(visual_advantage, mask),
        "vaopd/visual_advantage/top10_share": _share_in(top10, visual_advantage, total),
        "vaopd/visual_advantage/top20_share": _share_in(top20, visual_advantage, total),
        "vaopd/visual_advantage/high_zero_frac": _mean_over((visual_advantage == 0).double(), high),
        "vaopd/visual_advantage/high_tie_frac": _mean_over((visual_advantage < TIE).double(), high),
    }
    if reverse_kl is not None:
        metrics["vaopd/reverse_kl/high"] = _mean_over(reverse_kl, high)
        metrics["vaopd/reverse_kl/low"] = _mean_over(reverse_kl, mask & ~high)
    return metrics


def _share_in(group: torch.Tensor, values: torch.Tensor, total: torch.Tensor) -> float:
    return (values[group].sum() / total).item()


def _mean_over(values: torch.Tensor, group: torch.Tensor) -> float:
    return values[group].mean().item()


def _require_known(name: str, got: Mapping[str, float], known: Mapping[str, object]) -> None:
    unknown = sorted(set(got) - set(known))
    if unknown:
        raise ValueError(f"{name}: got {', '.join(unknown)}, expected names among {', '.join(known)}")
