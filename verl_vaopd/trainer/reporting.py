"""What a training step leaves behind: metrics, and token-level dumps of training and held-out rollouts."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from transformers import GenerationConfig

from verl_vaopd.alarms import Alarms
from verl_vaopd.config.objective import Objective
from verl_vaopd.engine import fields
from verl_vaopd.runs.events import EventLog, steps
from verl_vaopd.runs.metric_names import PASS_THROUGH_METRICS, TOKENS_OF_PHASES
from verl_vaopd.runs.per_token import DUMPED
from verl_vaopd.runs.token_dump import TokenRow
from verl_vaopd.runs.token_pieces import token_pieces
from verl_vaopd.trainer.metrics import (
    distillation_metrics,
    format_metrics,
    memory_metrics,
    rollout_metrics,
    throughput_metrics,
)
from verl_vaopd.trainer.rollouts import Rollouts

_PART = "\ufffd"
"""What a token decodes to that is a part of a character."""
PHASES = {
    "rollout": "gen",
    "teacher": "teacher",
    "advantage": "advantage",
    "update": "update_actor",
    "weight_sync": "update_weights",
    "step": "step",
}
"""Our names of a step's phases, and verl's timer that measures each."""


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


def format_tokens(tokenizer: Any) -> torch.Tensor:
    """[V] bool: ids without letter or digit: punctuation, spaces, special tokens. A part of a character may be one."""
    texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
    special = set(tokenizer.all_special_ids)
    return torch.tensor(
        [
            token in special or not any(character.isalnum() or character == _PART for character in text)
            for token, text in enumerate(texts)
        ]
    )


def alarms_after(step: int, config: DictConfig, vocab_size: int, events: EventLog) -> Alarms:
    """The alarms of a run, with what its steps up to this one have read, of earlier launches too."""
    earlier = [event["metrics"] for event in steps(events.path) if event["step"] <= step]
    return Alarms(config.alarms, math.log(vocab_size), earlier)


def raise_alarms(alarms: Alarms, step: int, metrics: dict[str, float], events: EventLog) -> None:
    """Tell the alarms that a step raises; its metrics get which ones stand."""
    for alarm in alarms.read(metrics):
        rule = alarm.rule
        events.write("alarm", alarm=rule.name, step=step, measured=alarm.measured, meaning=rule.meaning, fix=rule.fix)
    metrics.update(alarms.metrics())


def reported(objective: Objective) -> list[str]:
    """Per-token fields of training rollouts that metrics and dumps report after an update."""
    there = {
        fields.STUDENT_OUTPUTS: True,
        (fields.TEACHER_LOG_PROBS, *fields.TEACHER_OUTPUTS): objective.scores_rollouts,
        (fields.DIVERGENCE,): objective.distils,
        # Stored responses were not sampled by the student's rollout engine.
        (fields.ROLLOUT_LOG_PROBS,): not objective.stored_responses,
    }
    return [name for names, is_there in there.items() if is_there for name in names]


def step_metrics(
    rollouts: Rollouts,
    *,
    is_format: torch.Tensor,
    timing: Mapping[str, float],
    memory: Mapping[str, float],
    worker_metrics: Mapping[str, float],
    num_expected_prompts: int,
    num_dropped_rollouts: int,
    num_unscored_rewards: int,
    num_filtered_prompts: int,
    num_padding_rows: int,
) -> dict[str, float]:
    """All metrics of one training step (metric_names.METRICS) but for the alarms. `is_format`: see format_tokens."""
    seconds = {phase: timing[timer] for phase, timer in PHASES.items() if timer in timing}
    tokens: dict[str, float] = {phase: rollouts.num_tokens for phase in TOKENS_OF_PHASES if phase in seconds}
    tokens["rollout"] = int(rollouts.lengths.sum())
    # verl prefixes what the actor's worker measured.
    passed = {name: worker_metrics.get(name, worker_metrics.get(f"actor/{name}")) for name in PASS_THROUGH_METRICS}
    return {
        **distillation_metrics(rollouts),
        **(format_metrics(rollouts, is_format) if "visual_advantage" in rollouts.per_token else {}),
        **rollout_metrics(
            rollouts,
            num_dropped_prompts=num_expected_prompts - len(set(rollouts.uid)),
            num_dropped_rollouts=num_dropped_rollouts,
            num_unscored_rewards=num_unscored_rewards,
            num_filtered_prompts=num_filtered_prompts,
            num_padding_rows=num_padding_rows,
        ),
        **memory_metrics("step", memory),
        **throughput_metrics(seconds, tokens, {name: value for name, value in passed.items() if value is not None}),
    }


def dump_rows(rollouts: Rollouts, question_ids: Collection[str], tokenizer: Any) -> list[TokenRow]:
    """Token-level rows of all rollouts of the chosen questions: response tokens only, NaN as accuracy becomes None.

    Args:
        tokenizer: byte-level BPE, for the text.
    """
    result = []
    for row, question_id in enumerate(rollouts.question_id):
        if question_id not in question_ids:
            continue
        mask = rollouts.response_mask[row].bool()
        prompt, ids = rollouts.prompts[row], rollouts.responses[row][mask].tolist()
        pieces, accuracy = token_pieces(ids, tokenizer), float(rollouts.accuracy[row])
        result.append(
            TokenRow(
                uid=rollouts.uid[row],
                question_id=question_id,
                rollout_index=rollouts.rollout_index[row],
                # Zeros at the right are padding: a prompt ends with the opening of the model's turn.
                prompt=tokenizer.decode(prompt[: int(prompt.nonzero().max()) + 1]),
                response="".join(pieces),
                token_ids=ids,
                tokens=pieces,
                truncated=bool(rollouts.truncated[row]),
                accuracy=None if math.isnan(accuracy) else accuracy,
                per_token={n: _to_numpy(v[row][mask]) for n, v in rollouts.per_token.items() if n in DUMPED},
            )
        )
    return result


def _to_numpy(values: torch.Tensor) -> np.ndarray:
    # numpy has no bfloat16.
    return (values if values.dtype == torch.bool else values.float()).numpy(force=True)
