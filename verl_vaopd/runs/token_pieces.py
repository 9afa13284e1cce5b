"""Text of single tokens of a byte-level BPE tokenizer, faithful to the decoded whole."""

import codecs
from collections.abc import Sequence
from typing import Protocol


class ByteLevelTokenizer(Protocol):
    """What `token_pieces` needs of a byte-level BPE tokenizer from transformers."""

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str | None]:
        """Vocabulary entries; None for an id without one."""

    def decode(self, token_ids: list[int], **options: bool) -> str:
        """Text of the ids."""


def token_pieces(token_ids: Sequence[int], tokenizer: ByteLevelTokenizer) -> list[str]:
    """Text of each token, so that the pieces joined are exactly the decoded text.

    Byte-level BPE may split a character over several tokens, and no text holds part of a character: the token that
    completes it gets the character, those before it get "". Bytes that never become a character turn into U+FFFD where
    this is known, at the latest at the last token, as decoding does. The ids remain the exact record.

    Args:
        token_ids: response ids.
        tokenizer: byte-level BPE, as Qwen's.
    Returns: as many pieces as ids.
    Raises:
        ValueError: the joined pieces are not what the tokenizer decodes (it is not byte-level).
    """
    ids = [int(token_id) for token_id in token_ids]
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    pieces = [
        decoder.decode(_token_bytes(token), final=place == len(ids) - 1)
        for place, token in enumerate(tokenizer.convert_ids_to_tokens(ids))
    ]
    text = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if "".join(pieces) != text:
        raise ValueError(
            f"token_pieces: got {''.join(pieces)[:80]!r} from the pieces, expected {text[:80]!r} as decoded; "
            "use a byte-level BPE tokenizer such as Qwen's"
        )
    return pieces


def _token_bytes(token: str | None) -> bytes:
    """Bytes a byte-level vocabulary entry stands for: one per character, unless it is literal text (added tokens)."""
    if token is None:
        return b""
    if all(character in _BYTE_OF_CHARACTER for character in token):
        return bytes(_BYTE_OF_CHARACTER[character] for character in token)
    return token.encode()


def _byte_alphabet() -> dict[str, int]:
    """Byte behind each character of byte-level BPE (GPT-2, Qwen).

    Printable Latin-1 bytes are themselves; the others, in order, are the characters from U+0100 on.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + place): byte for place, byte in enumerate(others)}


_BYTE_OF_CHARACTER = _byte_alphabet()
