"""Input checks shared by the algorithms: each says what is wrong, where, and how to put it right."""

import torch


def require_positive(name: str, value: float) -> None:
    """Raise ValueError unless value is a finite number above 0."""
    if not 0 < value < float("inf"):
        raise ValueError(f"{name}: got {value}, expected a finite number above 0; the paper's value is its default")


def require_not_negative(name: str, value: float) -> None:
    """Raise ValueError unless value is a finite number of at least 0."""
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name}: got {value}, expected a finite number of at least 0; 0 switches it off")


def valid_tokens(response_mask: torch.Tensor) -> torch.Tensor:
    """The response mask as bool, checked.

    Args:
        response_mask: [N, T] bool or 0/1 of any dtype; 1 marks a response token.
    Returns: [N, T] bool.
    Raises:
        ValueError: not two-dimensional, a value other than 0 and 1, or a rollout without a response token.
    """
    if response_mask.dim() != 2:
        raise ValueError(
            f"response_mask: got shape {tuple(response_mask.shape)}, expected [rollouts, tokens]; "
            "add the missing axis with unsqueeze"
        )
    mask = response_mask.bool()
    if response_mask.dtype != torch.bool:
        not_binary = response_mask != mask
        if not_binary.any():
            row, token = not_binary.nonzero()[0].tolist()
            raise ValueError(
                f"response_mask: got {response_mask[row, token].item()} at rollout {row}, token {token}, "
                "expected 0 or 1; pass the mask itself, not weights"
            )
    empty = ~mask.any(dim=1)
    if empty.any():
        rows = empty.nonzero().flatten().tolist()
        raise ValueError(
            f"response_mask: rollouts {_first_few(rows)} have no response token, expected at least one each; "
            "drop empty responses and padding rows before this call"
        )
    return mask


def require_same_shape(**tensors: torch.Tensor) -> None:
    """Raise ValueError unless all tensors (passed by name) have one shape."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1:
        got = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"shapes differ: got {got}, expected one shape; pad all to the same [rollouts, tokens]")


def require_finite(name: str, values: torch.Tensor, mask: torch.Tensor) -> None:
    """Raise ValueError that names the first non-finite value among the valid tokens.

    Args:
        name: what the values are, for the message.
        values: [N, T] float.
        mask: [N, T] bool; values outside it are not looked at.
    """
    broken = ~torch.isfinite(values) & mask
    if broken.any():
        row, token = broken.nonzero()[0].tolist()
        raise ValueError(
            f"{name}: got {values[row, token].item()} at rollout {row}, token {token} "
            f"({int(broken.sum())} such values), expected finite numbers where response_mask is 1; "
            "look at the model that produced this rollout's scores"
        )


def require_finite_rows(name: str, values: torch.Tensor) -> None:
    """Raise ValueError that names the rows of a per-token result [N] that are not finite."""
    broken = ~torch.isfinite(values)
    if broken.any():
        rows = broken.nonzero().flatten().tolist()
        raise ValueError(
            f"{name}: got {values[rows[0]].item()} at row {_first_few(rows)}, expected finite numbers; "
            "the logits (or hidden states) of these tokens hold NaN or infinity: pass valid response tokens only, "
            "and look for an overflow in the model that made them"
        )


def common_vocab_size(student_rows: int, teacher_rows: int, vocab_size: int | None) -> int:
    """Number of leading vocabulary entries to compare.

    Args:
        student_rows, teacher_rows: vocabulary entries of either side, padding of the head included.
        vocab_size: the tokenizer's number of ids; None if neither side is padded.
    Raises:
        ValueError: vocab_size is None although the sides differ, or exceeds one of them, or is below 1.
    """
    if vocab_size is None:
        if student_rows != teacher_rows:
            raise ValueError(
                f"vocabularies differ: got {student_rows} student and {teacher_rows} teacher entries, expected the "
                "same number; pass vocab_size=len(tokenizer) to leave out the padding of the heads"
            )
        return student_rows
    if not 1 <= vocab_size <= min(student_rows, teacher_rows):
        raise ValueError(
            f"vocab_size: got {vocab_size}, expected 1 to {min(student_rows, teacher_rows)} (student has "
            f"{student_rows} entries, teacher {teacher_rows}); pass len(tokenizer) of the tokenizer both models share"
        )
    return vocab_size


def require_hidden_and_head(hidden_name: str, hidden: torch.Tensor, head_name: str, head: torch.Tensor) -> None:
    """Raise ValueError unless hidden [N, d] and head [V, d] fit and share a floating dtype."""
    if hidden.dim() != 2 or head.dim() != 2 or hidden.shape[1] != head.shape[1]:
        raise ValueError(
            f"{hidden_name}, {head_name}: got shapes {tuple(hidden.shape)} and {tuple(head.shape)}, expected "
            "[tokens, d] and [vocabulary, d]; flatten rollouts, and pass the head's weight as stored by nn.Linear"
        )
    if hidden.dtype != head.dtype or not hidden.is_floating_point():
        raise ValueError(
            f"{hidden_name}, {head_name}: got dtypes {hidden.dtype} and {head.dtype}, expected one floating dtype; "
            f"cast one of them, for example {hidden_name}.to({head_name}.dtype)"
        )


def require_token_ids(token_ids: torch.Tensor, num_tokens: int, vocab_size: int) -> None:
    """Raise ValueError unless token_ids is [num_tokens], integer, and within the vocabulary."""
    if token_ids.shape != (num_tokens,) or token_ids.dtype not in (torch.int32, torch.int64):
        raise ValueError(
            f"token_ids: got {token_ids.dtype} of shape {tuple(token_ids.shape)}, expected integers of shape "
            f"({num_tokens},); pass the sampled token of each row of hidden states"
        )
    outside = (token_ids < 0) | (token_ids >= vocab_size)
    if outside.any():
        row = int(outside.nonzero()[0])
        raise ValueError(
            f"token_ids: got {int(token_ids[row])} at row {row}, expected 0 to {vocab_size - 1}; "
            "check that vocab_size is len(tokenizer), added tokens included"
        )


def require_expected_grad(expected_grad: torch.Tensor | None, num_tokens: int) -> None:
    """Raise ValueError unless expected_grad is None or of shape [num_tokens]."""
    if expected_grad is not None and expected_grad.shape != (num_tokens,):
        raise ValueError(
            f"expected_grad: got shape {tuple(expected_grad.shape)}, expected ({num_tokens},); "
            "pass the weight of each row of hidden states"
        )


def require_chunk_size(chunk_size: int) -> None:
    """Raise ValueError unless a chunk holds at least one token."""
    if chunk_size < 1:
        raise ValueError(f"chunk_size: got {chunk_size}, expected at least 1 token; leave it out for the default")


def _first_few(rows: list[int], limit: int = 8) -> str:
    shown = ", ".join(str(row) for row in rows[:limit])
    return shown if len(rows) <= limit else f"{shown}, ... ({len(rows)} in all)"
