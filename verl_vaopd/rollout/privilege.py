"""The prompt that a self-distilling teacher reads: the student's, with the reference solution in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig
from transformers import PreTrainedTokenizerBase


def privileged_prompt(
    prompt_ids: Sequence[int],
    sample: Mapping[str, Any],
    options: DictConfig,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> list[int]:
    """The prompt with `options.template` at the end of the last message, before its end token.

    Works on token ids, so that image tokens stay what the processor made of them.

    Args:
        prompt_ids: whole prompt, chat template and generation prompt included.
        sample: the row of the data; `options.reference` names where in it the reference solution stands, with dots
            between the levels.
        options: `privilege` of the configuration.
        tokenizer: its end token closes a message, as in Qwen's chat template.
        max_length: in tokens.
    Raises:
        ValueError: the row has no reference solution, no message ends in the prompt, or the result is too long.
    """
    reference: Any = sample
    for name in options.reference.split("."):
        reference = reference.get(name) if isinstance(reference, Mapping) else None
    if not isinstance(reference, str) or not reference.strip():
        raise ValueError(
            f"the row {sample.get('index')} has no reference solution: got {reference!r} in column "
            f"{options.reference}, expected text; set privilege.reference to the column that has it"
        )
    ends = [place for place, token in enumerate(prompt_ids) if token == tokenizer.eos_token_id]
    if not ends:
        raise ValueError(
            f"no message of the prompt ends with the end token {tokenizer.eos_token!r}: the reference solution has no "
            "place; expected a chat template that closes messages with it, as Qwen's does"
        )
    inserted = tokenizer.encode(options.template.format(reference=reference), add_special_tokens=False)
    result = [*prompt_ids[: ends[-1]], *inserted, *prompt_ids[ends[-1] :]]
    if len(result) > max_length:
        raise ValueError(
            f"the prompt with the reference solution has {len(result)} tokens, expected at most {max_length} "
            "(data.max_prompt_length + data.max_response_length); raise one of them"
        )
    return result
