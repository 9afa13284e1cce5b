"""Which questions are dumped, which prompts count, and for how long: DAPO's filter of prompts, early stopping."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig
from transfer_queue import KVBatchMeta

from verl_vaopd.runs.events import EventLog
from verl_vaopd.runs.token_dump import fixed_subset
from verl_vaopd.trainer import rows


def dumped_questions(dataset: Any, config: DictConfig) -> list[str]:
    """Held-out questions of the first split whose tokens every validation dumps, in the order of the data set.

    Args:
        dataset: rollout.dataset.PromptDataset of the held-out files.
        config: the job's.
    """
    questions = dataset.questions_of(config.validation.splits[0])
    return fixed_subset(questions, config.dump.num_heldout_prompts, config.run.seed)


def informative(batch: KVBatchMeta, options: DictConfig, step: int, events: EventLog) -> tuple[KVBatchMeta, int]:
    """The rollouts of prompts that teach something by comparison (`papo.min_accuracy`, `papo.max_accuracy`).

    Args:
        batch: of a step, before padding rows.
        options: `papo` of the configuration; without limits every rollout stays.
        events: are told where no prompt would be left, and all stay.
    Returns: those rollouts, and how many prompts were taken out of the queue.
    """
    low, high = options.min_accuracy, options.max_accuracy
    if low is None and high is None:
        return batch, 0
    kept = informative_positions(rows.uids(batch), rows.accuracies(batch), low, high)
    if not kept:
        events.write("warning", text=f"step {step}: all prompts are alike, none is filtered out")
        return batch, 0
    others = rows.select(batch, sorted(set(range(len(batch))) - set(kept)))
    if not len(others):
        return batch, 0
    num_prompts = len(set(rows.uids(others)))
    rows.clear(others)
    return rows.select(batch, kept), num_prompts


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
