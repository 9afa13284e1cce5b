"""DAPO's filter of prompts, early stopping."""

import pytest

from verl_vaopd.trainer.selection import informative_positions, out_of_patience


def test_prompts_that_all_or_no_rollouts_solve_are_left_out():
    uids, accuracies = list("aabbccd"), [1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.5]
    assert informative_positions(uids, accuracies, 0.01, 0.99) == [2, 3, 6]
    assert informative_positions(uids, accuracies, None, 0.99) == [2, 3, 4, 5, 6]
    assert informative_positions(uids, accuracies, 0.01, None) == [0, 1, 2, 3, 6]


@pytest.mark.parametrize(
    ("accuracies", "patience", "stops"),
    [
        ([0.3], 1, False),
        ([0.3, 0.4], 1, False),
        ([0.4, 0.4], 1, True),  # a tie is no gain: the earlier one stays the best
        ([0.4, 0.3, 0.5], 2, False),
        ([0.5, 0.3, 0.4], 2, True),
        ([0.5, 0.3, 0.4], 3, False),
    ],
)
def test_patience(accuracies, patience, stops):
    assert out_of_patience([{"accuracy": value} for value in accuracies], patience) is stops
