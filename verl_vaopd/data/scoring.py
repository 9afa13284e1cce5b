"""Answer verification: verl's custom reward function (`custom_reward_function.path`, `.name=compute_score`).

There is no rule for an unknown data source. Distillation does not train on these scores: they monitor rollouts and
measure held-out accuracy; to GRPO and PAPO they are the reward. Training asks a Verifier, whose process no answer can
hold up.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from verl_vaopd.answers import free_form
from verl_vaopd.answers.rewards import exact_match, well_formed
from verl_vaopd.data.generated import GENERATED
from verl_vaopd.limited_process import LimitedProcess, LimitExceededError, Limits

Rule = Callable[[str, str, str], bool]
"""Whether a response is right: takes it, the ground truth and the text of the question."""


def _exact(response: str, ground_truth: str, question: str) -> bool:
    return exact_match(response, ground_truth)


SCORERS: dict[str, Rule] = {
    "exact_match": _exact,
    **dict.fromkeys(GENERATED, _exact),
    **dict.fromkeys(("free_form", "geo3k", "virl39k"), free_form.is_right),
}
"""The rule of every `data_source`: a rule's own name, which data of your own give, or a data set's."""


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict[str, Any] | None = None,
    question: str = "",
    **kwargs: Any,
) -> dict[str, float]:
    """Score one response, with the signature verl calls.

    Args:
        question: its text, which may list options.
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
    right = SCORERS[data_source](solution_str, ground_truth, question)
    return {"score": float(right), "acc": float(right), "well_formed": float(well_formed(solution_str))}


def is_usable(data_source: str, ground_truth: str, question: str = "") -> bool:
    """Whether an answer can be right at all: whether the ground truth itself, in a box, is.

    Where its braces do not match, no box can hold it.
    """
    return SCORERS[data_source](f"\\boxed{{{ground_truth}}}", ground_truth, question)


class Verifier:
    """compute_score in a process of its own. An answer whose scoring goes past a limit is wrong, and counted."""

    def __init__(self, limits: Limits) -> None:
        self._process = LimitedProcess(__name__, compute_score.__name__, limits)
        self._unscored: Counter[str] = Counter()

    def verify(self, data_source: str, solution_str: str, ground_truth: str, question: str) -> dict[str, float]:
        """What compute_score returns; all 0.0 where a limit ended it. Not for several threads at a time.

        Raises:
            RuntimeError: the process cannot start, or the rule raised an error.
        """
        try:
            return self._process.call(
                data_source=data_source, solution_str=solution_str, ground_truth=ground_truth, question=question
            )
        except LimitExceededError as error:
            self._unscored[str(error)] += 1
            return {"score": 0.0, "acc": 0.0, "well_formed": 0.0}

    def take_unscored(self) -> Counter[str]:
        """How often which limit ended the scoring of an answer, since the last call."""
        taken, self._unscored = self._unscored, Counter()
        return taken

    def close(self) -> None:
        """End the process."""
        self._process.close()


def tell_unscored(unscored: Counter[str], what: str) -> str:
    """A sentence about answers that could not be scored, for a reader; empty if there are none.

    Args:
        what: whose answers they are.
    """
    if not unscored:
        return ""
    reason, count = unscored.most_common(1)[0]
    return (
        f"{what}: {unscored.total()} answers could not be scored and count as wrong; of {count} of them: {reason} "
        "(verification.max_seconds, verification.max_memory_mb)"
    )
