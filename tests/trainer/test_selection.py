"""Held-out questions of each split, DAPO's filter of prompts, early stopping."""

from types import SimpleNamespace

import pytest
from datasets import Dataset
from omegaconf import OmegaConf

from verl_vaopd.trainer.selection import (
    dumped_questions,
    informative_positions,
    keep_first_of_each_split,
    out_of_patience,
)


def held_out(*splits):
    rows = [{"extra_info": {"split": split, "index": index}} for index, split in enumerate(splits)]
    return SimpleNamespace(dataframe=Dataset.from_list(rows))


def test_the_first_questions_of_each_split_are_kept():
    dataset = held_out("validation", "validation", "validation", "test_ood", "test_ood")
    keep_first_of_each_split(dataset, OmegaConf.create({"num_questions": 2}))
    assert [row["index"] for row in dataset.dataframe["extra_info"]] == [0, 1, 3, 4]


def test_questions_of_the_first_split_are_dumped_whatever_the_batches():
    dataset = held_out(*["validation"] * 8, *["test_ood"] * 4)
    config = OmegaConf.create({"validation": {"splits": ["validation"]}, "dump": {"num_heldout_prompts": 3}})
    chosen = {seed: dumped_questions(dataset, OmegaConf.merge(config, {"run": {"seed": seed}})) for seed in (0, 1)}
    assert chosen[0] == sorted(chosen[0]) != chosen[1]
    assert all(len(some) == 3 and {*some} <= {str(index) for index in range(8)} for some in chosen.values())


def test_too_few_questions_are_an_error():
    with pytest.raises(ValueError, match=r"test_ood has 1 questions, expected at least validation.num_questions=2"):
        keep_first_of_each_split(
            held_out("validation", "validation", "test_ood"), OmegaConf.create({"num_questions": 2})
        )


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
