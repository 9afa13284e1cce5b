"""What a training step leaves behind: metrics, and token-level dumps of training and held-out rollouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transfer_queue import KVBatchMeta
from transformers import GenerationConfig

from verl_vaopd.runs.metric_names import PASS_THROUGH_METRICS, TOKENS_OF_PHASES
from verl_vaopd.runs.token_dump import TokenRow, token_rows
from verl_vaopd.trainer import rows
from verl_vaopd.trainer.metrics import distillation_metrics, rollout_metrics, throughput_metrics

ROLLOUT_FIELDS = ("prompts", "responses", "response_mask", "rm_scores", "index")
PHASES = {
    "rollout": "gen",
    "teacher": "teacher",
    "advantage": "advantage",
    "update": "update_actor",
    "weight_sync": "update_weights",
    "step": "step",
}
"""Our names of a step's phases, and verl's timer that measures each."""
OPTIONAL_PER_TOKEN = (
    "rollout_log_probs",
    "divergence",
    "token_weights",
    "reverse_kl",
    "teacher_entropy",
    "visual_advantage",
    "high_group",
)
"""What only some methods have, and metrics report where it is there."""
DUMPED_PER_TOKEN = (
    "visual_advantage",
    "teacher_log_probs",
    "degraded_teacher_log_probs",
    "reverse_kl",
    "token_weights",
    "high_group",
    "student_entropy",
    "teacher_entropy",
    "rollout_log_probs",
)
"""Per-token columns of a dump, as far as the method produces them."""


def end_tokens(tokenizer: Any, model: str) -> list[int]:
    """Ids that end a response: the tokenizer's, and those of generation_config.json, at which vLLM stops too.

    Args:
        model: Hugging Face id or directory; it need not have a generation_config.json.
    """
    try:
        stated = GenerationConfig.from_pretrained(model).eos_token_id
    except OSError:
        stated = None
    found = {tokenizer.eos_token_id, *(stated if isinstance(stated, list) else [stated])}
    return sorted(token for token in found if token is not None)


def load_rollouts(batch: KVBatchMeta, eos_token_ids: Sequence[int], per_token: Sequence[str]) -> dict[str, Any]:
    """Everything that metrics and dumps need of real rows, as padded tensors and lists.

    Args:
        eos_token_ids: a response that ends in none of them was cut by the length limit.
        per_token: further per-token fields to fetch.
    """
    values = rows.fetch(batch, [*ROLLOUT_FIELDS, *per_token])
    lengths = values["response_mask"].sum(dim=1)
    last = values["responses"].gather(1, (lengths - 1)[:, None]).flatten()
    values["truncated"] = ~torch.isin(last, torch.tensor(list(eos_token_ids)))
    values["accuracy"] = values.pop("rm_scores").sum(dim=1)
    values["uid"] = rows.uids(batch)
    values["rollout_index"] = [int(key.split("_")[1]) for key in batch.keys]
    values["question_id"] = [str(index.item() if hasattr(index, "item") else index) for index in values.pop("index")]
    values["num_tokens"] = sum(tag["seq_len"] for tag in batch.tags)
    return values


def step_metrics(
    values: Mapping[str, Any],
    *,
    timing: Mapping[str, float],
    worker_metrics: Mapping[str, float],
    num_expected_prompts: int,
    num_filtered_prompts: int,
    num_padding_rows: int,
) -> dict[str, float]:
    """All metrics of one training step (metric_names.METRICS)."""
    seconds = {phase: timing[timer] for phase, timer in PHASES.items() if timer in timing}
    tokens: dict[str, float] = {phase: values["num_tokens"] for phase in TOKENS_OF_PHASES if phase in seconds}
    tokens["rollout"] = int(values["response_mask"].sum())
    # verl prefixes what the actor's worker measured.
    passed = {name: worker_metrics.get(name, worker_metrics.get(f"actor/{name}")) for name in PASS_THROUGH_METRICS}
    return {
        **distillation_metrics(
            response_mask=values["response_mask"],
            student_entropy=values["student_entropy"],
            student_log_probs=values["student_log_probs"],
            uid=values["uid"],
            **{name: values.get(name) for name in OPTIONAL_PER_TOKEN},
        ),
        **rollout_metrics(
            response_ids=values["responses"],
            **{name: values[name] for name in ("response_mask", "uid", "truncated", "accuracy")},
            num_dropped_prompts=num_expected_prompts - len(set(values["uid"])),
            num_filtered_prompts=num_filtered_prompts,
            num_padding_rows=num_padding_rows,
        ),
        **throughput_metrics(seconds, tokens, {name: value for name, value in passed.items() if value is not None}),
    }


def dump_rows(values: Mapping[str, Any], question_ids: Sequence[str], tokenizer: Any) -> list[TokenRow]:
    """Token-level rows of all rollouts of the chosen questions."""
    chosen = set(question_ids)
    return token_rows(
        rows=[row for row, question in enumerate(values["question_id"]) if question in chosen],
        **{name: values[name] for name in ("uid", "question_id", "rollout_index", "response_mask", "truncated")},
        prompt=[tokenizer.decode(ids[ids != tokenizer.pad_token_id]) for ids in values["prompts"]],
        response_ids=values["responses"],
        accuracy=values["accuracy"],
        per_token={name: values[name] for name in DUMPED_PER_TOKEN if name in values},
        tokenizer=tokenizer,
    )
