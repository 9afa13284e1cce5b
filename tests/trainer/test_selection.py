"""Questions that are dumped, DAPO's filter of prompts, early stopping."""

from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from verl_vaopd.trainer.selection import dumped_questions, informative_positions, out_of_patience


def test_questions_of_the_first_split_are_dumped_whatever_the_batches():
    indices = {"validation": [str(number) for number in range(8)], "test_ood": ["8", "9"]}
    dataset = SimpleNamespace(questions_of=indices.__getitem__)
    config = OmegaConf.create({"validation": {"splits": ["validation"]}, "dump": {"num_heldout_prompts": 3}})
    chosen = {seed: dumped_questions(dataset, OmegaConf.merge(config, {"run": {"seed": seed}})) for seed in (0, 1)}
    assert chosen[0] == sorted(chosen[0]) != chosen[1]
    assert all(len(some) == 3 and {*some} <= {*indices["validation"]} for some in chosen.values())


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
