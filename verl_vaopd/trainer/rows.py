"""Rollouts in verl's TransferQueue, seen from the driver: which rows are real, and their fields as padded tensors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import transfer_queue as tq
from transfer_queue import KVBatchMeta
from verl.utils import tensordict_utils as tu

from verl_vaopd.engine import fields
from verl_vaopd.engine.nested import nest_like, pad, row_lengths
from verl_vaopd.trainer.rollouts import Rollouts


def real_positions(batch: KVBatchMeta) -> list[int]:
    """Positions of the rows that are rollouts. verl appends synthetic ones until the batch divides evenly."""
    return [position for position, tag in enumerate(batch.tags) if not tag.get("is_padding", False)]


def uids(batch: KVBatchMeta) -> list[str]:
    """Prompt of each row. verl's keys are `{uid}_{sibling}_{turn}`."""
    return [key.split("_")[0] for key in batch.keys]


def sibling(key: str) -> int:
    """Number of a row, by its key, among those of its prompt."""
    return int(key.split("_")[1])


def select(batch: KVBatchMeta, positions: Sequence[int]) -> KVBatchMeta:
    """The batch of these rows, in this order."""
    return KVBatchMeta(
        partition_id=batch.partition_id,
        keys=[batch.keys[position] for position in positions],
        tags=[batch.tags[position] for position in positions],
    )


def require_rollouts(number: int) -> None:
    """Raise RuntimeError when there is none, because every one of a step or a validation has failed."""
    if not number:
        raise RuntimeError(
            "no prompt has a rollout: every one failed (the agent loop's tracebacks are in the run's "
            "train.log, above this one), or none has a stored response (`vaopd collect` with a larger collect.n keeps "
            "some for more prompts)"
        )


def request(batch: KVBatchMeta, names: Iterable[str], **settings: Any) -> KVBatchMeta:
    """The same rows for a worker call: only these fields are fetched, `settings` travel beside them."""
    return KVBatchMeta(
        partition_id=batch.partition_id,
        keys=list(batch.keys),
        tags=list(batch.tags),
        fields=list(names),
        extra_info=settings,
    )


def fetch(batch: KVBatchMeta, names: Sequence[str]) -> dict[str, Any]:
    """Fields of all rows of `batch`: tensors right-padded with zeros to [N, T], everything else as a list."""
    data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=list(names))
    values: dict[str, Any] = {}
    for name in names:
        value = data[name]
        values[name] = pad(value) if isinstance(value, torch.Tensor) else [getattr(v, "data", v) for v in value]
    return values


def lengths(batch: KVBatchMeta, name: str) -> list[int]:
    """How many values of a per-token field each row has."""
    data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=[name])
    return row_lengths(data[name]).tolist()


def load_rollouts(batch: KVBatchMeta, eos_token_ids: Sequence[int], per_token: Iterable[str] = ()) -> Rollouts:
    """What is known of real rows.

    Args:
        eos_token_ids: a response that ends in none of them was cut by the length limit.
        per_token: per-token fields to fetch.
    """
    names = tuple(dict.fromkeys(per_token))
    of_all = (fields.PROMPTS, fields.RESPONSES, fields.RESPONSE_MASK, fields.RM_SCORES, fields.INDEX)
    values = fetch(batch, [*of_all, *names])
    responses, mask = values[fields.RESPONSES], values[fields.RESPONSE_MASK]
    last = responses.gather(1, (mask.sum(dim=1) - 1)[:, None]).flatten()
    return Rollouts(
        uid=uids(batch),
        question_id=[str(index.item() if hasattr(index, "item") else index) for index in values[fields.INDEX]],
        rollout_index=[sibling(key) for key in batch.keys],
        prompts=values[fields.PROMPTS],
        responses=responses,
        response_mask=mask,
        truncated=~torch.isin(last, torch.tensor(list(eos_token_ids))),
        accuracy=values[fields.RM_SCORES].sum(dim=1),
        num_tokens=sum(tag["seq_len"] for tag in batch.tags),
        per_token={name: values[name] for name in names},
    )


def load_more(rollouts: Rollouts, batch: KVBatchMeta, per_token: Iterable[str]) -> Rollouts:
    """These rollouts with those per-token fields of their rows that are not known yet; what is known stays."""
    names = [name for name in per_token if name not in rollouts.per_token]
    return rollouts.adding(**fetch(batch, names)) if names else rollouts


def accuracies(batch: KVBatchMeta) -> list[float]:
    """Verified score of each row."""
    return fetch(batch, [fields.RM_SCORES])[fields.RM_SCORES].sum(dim=1).tolist()


def store(batch: KVBatchMeta, **per_token: torch.Tensor) -> None:
    """Write padded [N, T] tensors back as fields of the rows, cut to the rows' response lengths."""
    lengths = torch.tensor([tag["response_len"] for tag in batch.tags])
    nested = {name: nest_like(value, lengths) for name, value in per_token.items()}
    tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=tu.get_tensordict(nested))


def store_views(batch: KVBatchMeta, name: str, views: Sequence[dict[str, Any]]) -> None:
    """Write what a processor made of each row's images as a field of the rows."""
    tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=tu.get_tensordict({name: list(views)}))


def clear(batch: KVBatchMeta) -> None:
    """Remove the rows."""
    tq.kv_clear(keys=batch.keys, partition_id=batch.partition_id)
