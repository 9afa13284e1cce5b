"""What must hold of the running models, as functions of tensors; trainer/preflight_run.py asks the workers for these.

Each stands for a failure that trains on without an error: a colocated teacher that answers with the uniform
distribution after its first sleep and wake, a teacher that never gets the image, scores that are cut, a rollout engine
with other weights than the trainer.

Axes: N rollouts, T response tokens, right-padded; `mask` [N, T] tells tokens from padding. All log-probs are float32
nats at temperature 1. No gradient. Every function returns a Finding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from verl_vaopd.config.preflight import Finding, NotMeasured

NO_IMAGE = NotMeasured("none of these prompts has an image")

IMAGE_EFFECT = 1e-3
"""Nats per token, on average, by which a blank image must change the teacher's log-probs at least. Well above what one
number differs by between two passes in float32; an image that is read at all moves them by tenths."""

UNIFORM_MARGIN = 0.05
"""Nats: a teacher whose log-probs are, on average, this near -log V for every token has the uniform distribution. In
bfloat16 the uniform one is within 0.02 (a guess from the rounding of logits; not measured on a GPU)."""

SIXTEEN_BITS = "bfloat16"
"""Whose bound holds for what is named otherwise (`auto`)."""

REPEAT_GAP = {"float32": 1e-4, "bfloat16": 0.05, "float16": 0.01}
"""Nats by which two scores of one token by a frozen teacher may differ at most, by its dtype. Both passes have the same
shapes. In float32 on a CPU they do not differ; the others are bounds that were not measured on a GPU."""

LOG_PROB_GAP = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.05}
"""Nats per token, on average, between rollout engine and trainer at most, by the engine's dtype, unless
`preflight.max_log_prob_gap` is set. In float32 on a CPU the tiny models differ by 1e-7; the others are bounds that were
not measured on a GPU."""


def teacher_sees_images(clean: torch.Tensor, blank: torch.Tensor, mask: torch.Tensor, seen: torch.Tensor) -> Finding:
    """A blank image in the place of the picture changes what the teacher says.

    Args:
        clean, blank: [N, T] the teacher's log-probs on both.
        seen: [N] bool: the prompt has an image.
    """
    where = mask.bool() & seen[:, None]
    if not where.any():
        return Finding("teacher_sees_images", NO_IMAGE)
    change = (clean - blank).abs()[where].mean().item()
    return Finding(
        "teacher_sees_images",
        f"a blank image changes the teacher's log-probs by {change:.3g} nats per token (at least {IMAGE_EFFECT:g})",
        change >= IMAGE_EFFECT,
        "the teacher is scored without its images: check that teacher.path is a vision-language model of the student's "
        "family, whole and not text-only",
    )


def visual_advantage(advantage: torch.Tensor, mask: torch.Tensor, seen: torch.Tensor) -> Finding:
    """Visual advantage [N, T] is not zero at every token; over prompts with images alone."""
    where = mask.bool() & seen[:, None]
    if not where.any():
        return Finding("visual_advantage", NO_IMAGE)
    share = (advantage[where] != 0).float().mean().item()
    mean = advantage[where].mean().item()
    return Finding(
        "visual_advantage",
        f"not 0 at {100 * share:.3g} % of the tokens, {mean:.3g} nats on average (somewhere not 0)",
        share > 0,
        "the degraded view says as much as the clean one, or the teacher does not look: check view.kind, view.ratio, "
        "teacher.path",
    )


def equal_views(clean: torch.Tensor, same: torch.Tensor, mask: torch.Tensor) -> Finding:
    """The clean image in the place of the degraded one gives a visual advantage of exactly 0."""
    gap = (clean - same).abs()[mask.bool()].max().item()
    return Finding(
        "equal_views",
        f"two equal views differ by at most {gap:.3g} nats (exactly 0)",
        gap == 0,
        "the two views are not treated alike, so that visual advantage measures more than the image: report it with "
        "versions and hardware; kernels that are not deterministic would explain a tiny difference",
    )


def teacher_alive(
    log_probs: torch.Tensor, mask: torch.Tensor, vocab_size: int, entropy: torch.Tensor | None = None
) -> Finding:
    """The teacher's distribution is not the uniform one.

    Args:
        log_probs: [N, T] of the sampled tokens by the teacher.
        vocab_size: V; the uniform distribution gives every token -log V and has the entropy log V.
        entropy: [N, T] of the teacher's distributions in nats, where it is known.
    """
    uniform = math.log(vocab_size)
    tokens = mask.bool()
    distance = (log_probs + uniform).abs()[tokens].mean().item()
    measured = (
        f"log-probs are {distance:.3g} nats from -log V = {-uniform:.4g} per token (more than {UNIFORM_MARGIN:g}), "
        f"{log_probs[tokens].mean().item():.4g} on average"
    )
    alive = math.isfinite(distance) and distance > UNIFORM_MARGIN
    if entropy is not None:
        mean = entropy[tokens].mean().item()
        alive = alive and mean < uniform - UNIFORM_MARGIN
        measured += f"; entropy {mean:.4g} nats (below log V = {uniform:.4g})"
    return Finding(
        "teacher_alive",
        measured,
        alive,
        "the teacher has lost its weights or never had them: check teacher.path; if this began after a step, "
        "teacher.param_offload=false, or teacher.placement=pool",
    )


def teacher_scores(num_scores: Sequence[int], num_tokens: Sequence[int]) -> Finding:
    """Every rollout has as many scores as response tokens."""
    wrong = [(got, asked) for got, asked in zip(num_scores, num_tokens, strict=True) if got != asked]
    return Finding(
        "teacher_scores",
        f"{sum(num_scores)} scores for {sum(num_tokens)} response tokens"
        + (f"; {len(wrong)} rollouts differ, the first has {wrong[0][0]} for {wrong[0][1]}" if wrong else ""),
        not wrong,
        "scores are lost between teacher and driver: leave data.max_prompt_length, data.max_response_length and "
        "teacher.max_tokens_per_gpu as the checks before the start have passed them, and report it",
    )


def teacher_repeats(
    first: torch.Tensor, again: torch.Tensor, mask: torch.Tensor, dtype: str, frozen: bool = True
) -> Finding:
    """The same rollouts scored twice have the same scores.

    Args:
        first, again: [N, T].
        dtype: of the teacher, a key of REPEAT_GAP.
        frozen: False for a teacher that has moved in between: what differs is told and does not count.
    """
    gap, bound = (first - again).abs()[mask.bool()].max().item(), _bound(REPEAT_GAP, dtype)
    moved = "" if frozen else ", but this teacher has moved in between"
    return Finding(
        "teacher_repeats",
        f"scores of the same tokens differ by at most {gap:.3g} nats ({bound:g} in {dtype}{moved})",
        gap <= bound or not frozen,
        "the teacher's weights do not survive between two passes: teacher.param_offload=false, or "
        "teacher.placement=pool",
    )


def log_prob_gap(
    student: torch.Tensor, rollout: torch.Tensor, mask: torch.Tensor, dtype: str, bound: float | None = None
) -> Finding:
    """Rollout engine and trainer give the sampled tokens the same log-probs.

    Args:
        student, rollout: [N, T] by the trainer and by the engine, both of the whole distribution at temperature 1.
        dtype: of the engine, a key of LOG_PROB_GAP.
        bound: instead of the one for the dtype.
    """
    gap = (student.float() - rollout.float()).abs()[mask.bool()]
    return gap_finding(gap.mean().item(), gap.max().item(), dtype, bound)


def gap_finding(mean: float, largest: float, dtype: str, bound: float | None = None) -> Finding:
    """The same from the two numbers that every step reports (`vaopd/log_prob_gap/...`)."""
    limit = _bound(LOG_PROB_GAP, dtype) if bound is None else bound
    return Finding(
        "log_prob_gap",
        f"rollout engine and trainer differ by {mean:.3g} nats per token (at most {limit:g} in {dtype}), {largest:.3g} "
        "at the worst",
        mean <= limit,
        "the rollout engine does not have the trainer's weights, or computes otherwise (vLLM's log-probs are of all "
        "rows of the head, those beyond the tokenizer too): compare "
        "actor_rollout_ref.rollout.dtype with the trainer's, leave actor_rollout_ref.rollout.logprobs_mode alone; "
        "preflight.max_log_prob_gap is the bound",
    )


def responses_end(truncated: torch.Tensor, warn_frac: float, max_frac: float, max_length: int) -> Finding:
    """Responses come to an end: [N] bool, which of them the length limit has cut."""
    num_cut = int(truncated.sum())
    share = num_cut / len(truncated)
    return Finding(
        "responses_end",
        f"{num_cut} of {len(truncated)} responses are cut at {max_length} tokens "
        f"({100 * share:.0f} %; warning above {100 * warn_frac:g} %, at most {100 * max_frac:g} %)",
        share <= max_frac,
        f"data.max_response_length={2 * max_length}, or a student whose answers end (generation_config.json has its "
        "end tokens); preflight.max_truncated_frac is the bound",
        warned=share > warn_frac,
    )


def _bound(table: dict[str, float], dtype: str) -> float:
    return table[dtype if dtype in table else SIXTEEN_BITS]
