"""The prompt that a self-distilling teacher reads: the student's, with the reference solution in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from verl_vaopd.data.rows import Row, RowError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def reference_tokens(
    row: Row | Mapping[str, Any], options: Mapping[str, str], tokenizer: PreTrainedTokenizerBase
) -> list[int]:
    """`options.template` with a row's reference solution in it, as token ids.

    Args:
        row: of the data; `options.reference` names where in it the reference solution stands, with dots between the
            levels.
        options: `privilege` of the configuration.
    Raises:
        RowError: the row has no reference solution.
    """
    column = options["reference"]
    found: Any = row
    if isinstance(row, Row):
        found = {"extra_info": row.extra_info, "reward_model": {"ground_truth": row.ground_truth}}
    for name in column.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    if not isinstance(found, str) or not found.strip():
        fix = "set privilege.reference to the column of extra_info that has it, or leave the row out"
        raise RowError(column, "no reference solution", found, "text", fix)
    return tokenizer.encode(options["template"].replace("{reference}", found), add_special_tokens=False)


def privileged_prompt(
    prompt_ids: Sequence[int],
    sample: Mapping[str, Any],
    options: Mapping[str, str],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> list[int]:
    """The prompt with `options.template` at the end of the last message, before its end token.

    Works on token ids, so that image tokens stay what the processor made of them.

    Args:
        prompt_ids: whole prompt, chat template and generation prompt included.
        sample, options: as reference_tokens.
        tokenizer: its end token closes a message, as in Qwen's chat template.
        max_length: in tokens.
    Raises:
        ValueError: the row has no reference solution, no message ends in the prompt, or the result is too long.
    """
    inserted = reference_tokens(sample, options, tokenizer)
    ends = [place for place, token in enumerate(prompt_ids) if token == tokenizer.eos_token_id]
    if not ends:
        raise ValueError(
            f"no message of the prompt ends with the end token {tokenizer.eos_token!r}: the reference solution has no "
            "place; expected a chat template that closes messages with it, as Qwen's does"
        )
    result = [*prompt_ids[: ends[-1]], *inserted, *prompt_ids[ends[-1] :]]
    if len(result) > max_length:
        raise ValueError(
            f"the prompt with the reference solution has {len(result)} tokens, expected at most {max_length} "
            "(data.max_prompt_length + data.max_response_length); raise one of them"
        )
    return result
