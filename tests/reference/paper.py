"""The paper's equations (arXiv:2605.21924) in plain Python numbers, written from the text and not from the package.

One loop per sum, one function per equation, lists of different lengths instead of padding and masks. Python floats are
float64.
"""

import math
from collections.abc import Callable
from decimal import ROUND_CEILING, Decimal

Prompt = list[list[float]]  # one list of per-token numbers for each sibling rollout


def log_softmax(logits: list[float]) -> list[float]:
    largest = max(logits)
    log_sum = largest + math.log(math.fsum(math.exp(x - largest) for x in logits))
    return [x - log_sum for x in logits]


def at_temperature(logits: list[float], temperature: float) -> list[float]:
    """What a softmax at this temperature is taken of; not the paper's, whose temperature is 1."""
    return [x / temperature for x in logits]


def kl(p_logits: list[float], q_logits: list[float]) -> float:
    """KL(p || q) = sum_v p_v log(p_v / q_v)."""
    log_p, log_q = log_softmax(p_logits), log_softmax(q_logits)
    return math.fsum(math.exp(a) * (a - b) for a, b in zip(log_p, log_q, strict=True))


def js(student_logits: list[float], teacher_logits: list[float], beta: float) -> float:
    """beta KL(teacher || m) + (1 - beta) KL(student || m), m = beta teacher + (1 - beta) student."""
    student = [math.exp(x) for x in log_softmax(student_logits)]
    teacher = [math.exp(x) for x in log_softmax(teacher_logits)]
    mixture = [beta * t + (1 - beta) * s for s, t in zip(student, teacher, strict=True)]
    from_teacher = math.fsum(t * math.log(t / m) for t, m in zip(teacher, mixture, strict=True))
    from_student = math.fsum(s * math.log(s / m) for s, m in zip(student, mixture, strict=True))
    return beta * from_teacher + (1 - beta) * from_student


def top_k_kl(student_logits: list[float], teacher_logits: list[float], k: int) -> float:
    """KL(student || teacher) of the distributions over the teacher's k likeliest tokens and one bucket for the rest."""
    student, teacher = ([math.exp(x) for x in log_softmax(logits)] for logits in (student_logits, teacher_logits))
    likeliest = sorted(range(len(teacher)), key=lambda token: -teacher[token])[:k]
    buckets = [[token] for token in likeliest]
    buckets.append([token for token in range(len(teacher)) if token not in likeliest])
    total = 0.0
    for bucket in buckets:
        of_student, of_teacher = (math.fsum(side[token] for token in bucket) for side in (student, teacher))
        total += of_student * math.log(of_student / of_teacher) if bucket else 0.0
    return total


def visual_advantage(clean: list[float], degraded: list[float]) -> list[float]:
    """Eq. 2."""
    return [max(c - d, 0.0) for c, d in zip(clean, degraded, strict=True)]


def rollout_weights(
    siblings: Prompt, temperature: float = 1.0, eps: float = 1e-6, rollout_shrinkage: float = 0.0
) -> list[float]:
    """Eq. 3-4 from the visual advantages of one prompt's rollouts; rollout_shrinkage is not the paper's."""
    means = [math.fsum(tokens) / len(tokens) for tokens in siblings]
    centre = math.fsum(means) / len(means)
    variance = math.fsum((mean - centre) ** 2 for mean in means) / len(means)
    z_scores = [(mean - centre) / (math.sqrt(variance) + eps + rollout_shrinkage) for mean in means]
    powers = [math.exp(z / temperature) for z in z_scores]
    return [power / math.fsum(powers) for power in powers]


def ceil_share(share: float, count: int) -> int:
    """ceil(share * count) of the decimal number that was written."""
    return int((Decimal(str(share)) * count).to_integral_value(rounding=ROUND_CEILING))


def high_positions(tokens: list[float], high_frac: float) -> set[int]:
    """Positions of the ceil(high_frac * T) largest values; among equals the earlier ones."""
    count = ceil_share(high_frac, len(tokens))
    by_value = sorted(range(len(tokens)), key=lambda position: (-tokens[position], position))
    return set(by_value[:count])


def positions_holding(tokens: list[float], high_mass: float) -> set[int]:
    """Positions of the fewest largest values that add up to that share of all; none if all are 0."""
    wanted, chosen = high_mass * math.fsum(tokens), set[int]()
    for position in sorted(range(len(tokens)), key=lambda position: (-tokens[position], position)):
        if math.fsum(tokens[chosen_one] for chosen_one in chosen) >= wanted * (1 - 1e-12):
            break
        chosen.add(position)
    return chosen


def rollout_loss(tokens: list[float], kls: list[float], high: set[int], high_coef: float) -> float:
    """Eq. 5, given the positions of the high group."""
    in_high = [value for position, value in enumerate(kls) if position in high]
    in_low = [value for position, value in enumerate(kls) if position not in high]
    if not in_low or not in_high:
        return math.fsum(kls) / len(kls)
    return high_coef * math.fsum(in_high) / len(in_high) + (1 - high_coef) * math.fsum(in_low) / len(in_low)


def vaopd_loss(
    advantages: list[Prompt],
    kls: list[Prompt],
    high_frac: float = 0.2,
    high_coef: float = 0.5,
    temperature: float = 1.0,
    rollout_weighting: bool = True,
    token_grouping: bool = True,
    rollout_shrinkage: float = 0.0,
    high_rule: Callable[[list[float]], set[int]] | None = None,
) -> float:
    """Eq. 6; with both switches off, Eq. 1. high_rule gives a rollout's high positions, if not by high_frac."""
    total = 0.0
    for prompt_advantages, prompt_kls in zip(advantages, kls, strict=True):
        weights = [1 / len(prompt_kls)] * len(prompt_kls)
        if rollout_weighting:
            weights = rollout_weights(prompt_advantages, temperature, rollout_shrinkage=rollout_shrinkage)
        for weight, tokens, values in zip(weights, prompt_advantages, prompt_kls, strict=True):
            if token_grouping:
                high = high_positions(tokens, high_frac) if high_rule is None else high_rule(tokens)
                total += weight * rollout_loss(tokens, values, high, high_coef)
            else:
                total += weight * math.fsum(values) / len(values)
    return total / len(kls)


def masked_opd_loss(advantages: list[Prompt], kls: list[Prompt], which: str, frac: float) -> float:
    """Eq. 1 without ceil(frac * T) tokens of each rollout: those of highest or of lowest visual advantage."""
    total = 0.0
    for prompt_advantages, prompt_kls in zip(advantages, kls, strict=True):
        for tokens, values in zip(prompt_advantages, prompt_kls, strict=True):
            sign = -1 if which == "low" else 1
            order = sorted(range(len(tokens)), key=lambda position: (-sign * tokens[position], position))
            left_out = order[: min(ceil_share(frac, len(tokens)), len(tokens) - 1)]
            kept = [value for position, value in enumerate(values) if position not in left_out]
            total += math.fsum(kept) / len(kept) / len(prompt_kls)
    return total / len(kls)
