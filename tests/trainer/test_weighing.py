"""What the driver makes of the teacher's scores; the high group that is reported is the one that weights go by."""

from typing import Any

import pytest
import torch

from tests.trainer.some_rollouts import some_rollouts
from verl_vaopd.algorithms.measuring import Measuring
from verl_vaopd.algorithms.weightings import Uniform, VisualAdvantage
from verl_vaopd.trainer.weighing import SOURCES, advantage_of, measure, weigh

CLEAN = torch.tensor([[-1.0, -0.5, -1.0, -1.0, -1.0]])
DEGRADED = CLEAN - torch.tensor([[0.02, 0.0, 3.0, 0.5, 0.0]])
SCORES = {"teacher_log_probs": CLEAN, "degraded_teacher_log_probs": DEGRADED}


def scored(**per_token: torch.Tensor):
    return some_rollouts(torch.ones(1, 5), ["a"], **SCORES | per_token)


@pytest.mark.parametrize(
    ("rule", "high"),
    [
        ({"high_frac": 0.2}, [2]),
        ({"high_rule": "threshold", "high_threshold": 0.1}, [2, 3]),
        ({"high_rule": "mass", "high_mass": 0.999}, [0, 2, 3]),
    ],
)
def test_the_high_group_follows_the_rule(rule: dict[str, Any], high: list[int]) -> None:
    rollouts = measure(scored(), Measuring(**rule))
    assert rollouts.per_token["high_group"][0].nonzero().flatten().tolist() == high
    weighed = weigh(rollouts, VisualAdvantage(), torch.Generator())
    assert weighed.per_token["token_weights"][0][high].tolist() == pytest.approx([0.5 / len(high)] * len(high))


def test_the_gap_is_that_of_the_divergences() -> None:
    """Whichever view is the closer one, and whatever the sampled tokens' log-probs are."""
    degraded = torch.tensor([[0.5, 0.25, 1.0, 0.0, 2.0]])
    rollouts = scored(reverse_kl=torch.full((1, 5), 0.5), degraded_reverse_kl=degraded)
    assert advantage_of(rollouts, "divergence_gap").tolist() == [[0.0, 0.25, 0.5, 0.5, 1.5]]
    assert measure(rollouts, Measuring(advantage="divergence_gap")).per_token["high_group"][0].tolist()[4]


def test_weights_that_need_no_advantage_are_had_without() -> None:
    weighed = weigh(some_rollouts(torch.ones(2, 4), list("ab")), Uniform(), torch.Generator())
    assert weighed.per_token["token_weights"].tolist() == [[0.125] * 4] * 2


def test_what_was_known_stays_known() -> None:
    weighed = weigh(measure(scored(), Measuring()), VisualAdvantage(), torch.Generator())
    assert weighed.per_token.keys() == {*SOURCES["sampled"], "visual_advantage", "high_group", "token_weights"}
