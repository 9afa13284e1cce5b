"""Answer verification: verl's custom reward function (`custom_reward_function.path`, `.name=compute_score`).

There is no rule for an unknown data source. Distillation does not train on these scores: they monitor rollouts and
measure held-out accuracy.
"""

from collections.abc import Callable
from typing import Any

from verl_vaopd.answers.rewards import exact_match, well_formed
from verl_vaopd.data.generated import GENERATED

SCORERS: dict[str, Callable[[str, str], bool]] = {
    "exact_match": exact_match,
    "geo3k": exact_match,
    "virl39k": exact_match,
    **dict.fromkeys(GENERATED, exact_match),
}
"""The rule of every `data_source`: a rule's own name, which data of your own give, or a generated data set's."""


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: dict[str, Any] | None = None, **kwargs: Any
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
            "add its rule to verl_vaopd.data.scoring.SCORERS"
        )
    right = SCORERS[data_source](solution_str, ground_truth)
    return {"score": float(right), "acc": float(right), "well_formed": float(well_formed(solution_str))}
