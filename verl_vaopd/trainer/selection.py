"""Which prompts and questions count: held-out questions of each split and those whose tokens are dumped, DAPO's filter
of prompts, early stopping.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

from verl_vaopd.runs.token_dump import fixed_subset


def keep_first_of_each_split(dataset: Any, options: DictConfig) -> None:
    """Cut verl's validation data set to the first `validation.num_questions` questions of every split, in place.

    Args:
        dataset: verl's RLHFDataset over all files of `validation.splits`, one after the other.
        options: `validation` of the configuration.
    Raises:
        ValueError: a split has fewer questions.
    """
    splits = [row["split"] for row in dataset.dataframe["extra_info"]]
    places: dict[str, list[int]] = defaultdict(list)
    for place, split in enumerate(splits):
        places[split].append(place)
    for split, found in places.items():
        if len(found) < options.num_questions:
            raise ValueError(
                f"the held-out split {split} has {len(found)} questions, expected at least "
                f"validation.num_questions={options.num_questions}; lower it, or prepare more data"
            )
    kept = sorted(place for found in places.values() for place in found[: options.num_questions])
    dataset.dataframe = dataset.dataframe.select(kept)


def dumped_questions(dataset: Any, config: DictConfig) -> list[str]:
    """Held-out questions of the first split whose tokens every validation dumps, in the order of the data set.

    Args:
        dataset: as keep_first_of_each_split leaves it.
        config: the job's.
    """
    first = config.validation.splits[0]
    questions = [str(row["index"]) for row in dataset.dataframe["extra_info"] if row["split"] == first]
    return fixed_subset(questions, config.dump.num_heldout_prompts, config.run.seed)


def informative_positions(
    uids: Sequence[str], accuracies: Sequence[float], low: float | None, high: float | None
) -> list[int]:
    """Positions of the rollouts whose prompt's mean accuracy lies strictly between the limits.

    DAPO (arXiv:2503.14476) samples until a batch is full of such prompts; here the others just leave the update, so
    that every method sees the same prompts in the same order.
    """
    of_prompt: dict[str, list[float]] = defaultdict(list)
    for uid, accuracy in zip(uids, accuracies, strict=True):
        of_prompt[uid].append(accuracy)
    means = {uid: sum(values) / len(values) for uid, values in of_prompt.items()}
    return [
        position
        for position, uid in enumerate(uids)
        if (low is None or means[uid] > low) and (high is None or means[uid] < high)
    ]


def out_of_patience(validations: Sequence[Mapping[str, Any]], patience: int) -> bool:
    """Whether the last `patience` validations have not exceeded the best accuracy before them."""
    accuracies = [event["accuracy"] for event in validations]
    if len(accuracies) <= patience:
        return False
    return max(accuracies[-patience:]) <= max(accuracies[:-patience])
