"""Answer verification: verl's custom reward function (`custom_reward_function.path`, `.name=compute_score`).

Every data source has its own rule in `SCORERS`; there is no rule for an unknown one. Distillation does not train on
these scores: they monitor rollouts and measure held-out accuracy.
"""

from collections.abc import Callable
from typing import Any

_BOX = "\\boxed{"


def boxes(text: str) -> list[str]:
    """The contents of all balanced \\boxed{...} that are not inside another one, in order."""
    found, position = [], text.find(_BOX)
    while position >= 0:
        start = position + len(_BOX)
        end = _closing_brace(text, start)
        if end is None:  # this box never closes; one inside it may
            position = text.find(_BOX, start)
            continue
        found.append(text[start:end])
        position = text.find(_BOX, end)
    return found


def extract_boxed(text: str) -> str | None:
    """The content of the last balanced \\boxed{...}, or None."""
    found = boxes(text)
    return found[-1] if found else None


def well_formed(text: str) -> bool:
    """Whether the text holds exactly one \\boxed, balanced and with content.

    A decoded text no longer shows whether it ended by itself: check the end token on the ids.
    """
    found = boxes(text)
    return text.count("\\boxed") == 1 and len(found) == 1 and bool(found[0].strip())


def exact_match(solution: str, ground_truth: str) -> bool:
    """Whether the last box holds the ground truth, white space aside."""
    answer = extract_boxed(solution)
    return answer is not None and _normalized(answer) == _normalized(ground_truth)


SCORERS: dict[str, Callable[[str, str], bool]] = {"tinygeo": exact_match}


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict[str, Any] | None = None,
    **kwargs: Any,
) -> dict[str, float]:
    """Score one response, with the signature verl calls.

    Returns: "score", 1.0 if right, else 0.0, and the same as "acc", the name under which verl reports validation;
        "well_formed", 1.0 if exactly one box with content, else 0.0.
    Raises:
        ValueError: if no rule is known for the data source.
    """
    if data_source not in SCORERS:
        raise ValueError(
            f"no reward is defined for data_source {data_source!r}; expected one of {sorted(SCORERS)}; "
            "add its rule to verl_vaopd.rewards.SCORERS"
        )
    right = SCORERS[data_source](solution_str, ground_truth)
    return {"score": float(right), "acc": float(right), "well_formed": float(well_formed(solution_str))}


def _normalized(answer: str) -> str:
    return " ".join(answer.split())


def _closing_brace(text: str, start: int) -> int | None:
    """Index of the brace that closes the one before `start`; None if there is none."""
    depth = 1
    for index in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return index
    return None
