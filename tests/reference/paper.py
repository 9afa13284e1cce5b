"""The paper's equations (arXiv:2605.21924) in plain Python numbers, written from the text and not from the package.

One loop per sum, one function per equation, lists of different lengths instead of padding and masks. Python floats are
float64.
"""

import math
from decimal import ROUND_CEILING, Decimal

Prompt = list[list[float]]  # one list of per-token numbers for each sibling rollout


def log_softmax(logits: list[float]) -> list[float]:
    largest = max(logits)
    log_sum = largest + math.log(math.fsum(math.exp(x - largest) for x in logits))
    return [x - log_sum for x in logits]


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


def visual_advantage(clean: list[float], degraded: list[float]) -> list[float]:
    """Eq. 2."""
    return [max(c - d, 0.0) for c, d in zip(clean, degraded, strict=True)]


def rollout_weights(siblings: Prompt, temperature: float = 1.0, eps: float = 1e-6) -> list[float]:
    """Eq. 3-4 from the visual advantages of one prompt's rollouts."""
    means = [math.fsum(tokens) / len(tokens) for tokens in siblings]
    centre = math.fsum(means) / len(means)
    variance = math.fsum((mean - centre) ** 2 for mean in means) / len(means)
    z_scores = [(mean - centre) / (math.sqrt(variance) + eps) for mean in means]
    powers = [math.exp(z / temperature) for z in z_scores]
    return [power / math.fsum(powers) for power in powers]


def high_positions(tokens: list[float], high_frac: float) -> set[int]:
    """Positions of the ceil(high_frac * T) largest values; among equals the earlier ones."""
    count = int((Decimal(str(high_frac)) * len(tokens)).to_integral_value(rounding=ROUND_CEILING))
    by_value = sorted(range(len(tokens)), key=lambda position: (-tokens[position], position))
    return set(by_value[:count])


def rollout_loss(tokens: list[float], kls: list[float], high_frac: float, high_coef: float) -> float:
    """Eq. 5."""
    high = high_positions(tokens, high_frac)
    in_high = [value for position, value in enumerate(kls) if position in high]
    in_low = [value for position, value in enumerate(kls) if position not in high]
    mean_high = math.fsum(in_high) / len(in_high)
    if not in_low:
        return mean_high
    return high_coef * mean_high + (1 - high_coef) * math.fsum(in_low) / len(in_low)


def vaopd_loss(
    advantages: list[Prompt],
    kls: list[Prompt],
    high_frac: float = 0.2,
    high_coef: float = 0.5,
    temperature: float = 1.0,
    rollout_weighting: bool = True,
    token_grouping: bool = True,
) -> float:
    """Eq. 6; with both switches off, Eq. 1."""
    total = 0.0
    for prompt_advantages, prompt_kls in zip(advantages, kls, strict=True):
        siblings = len(prompt_kls)
        weights = rollout_weights(prompt_advantages, temperature) if rollout_weighting else [1 / siblings] * siblings
        for weight, tokens, values in zip(weights, prompt_advantages, prompt_kls, strict=True):
            if token_grouping:
                total += weight * rollout_loss(tokens, values, high_frac, high_coef)
            else:
                total += weight * math.fsum(values) / len(values)
    return total / len(kls)
