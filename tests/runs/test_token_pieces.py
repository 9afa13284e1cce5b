import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from verl_vaopd.runs.token_pieces import token_pieces


def _tokenizer(pre_tokenizer, decoder):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoder
    alphabet = pre_tokenizers.ByteLevel.alphabet() if isinstance(decoder, decoders.ByteLevel) else []
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=["<|im_end|>", "<|a b é|>"], show_progress=False
    )
    tokenizer.train_from_iterator(["the angle is the sum of the sides, the total is"] * 4, trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.fixture(scope="module")
def byte_level():
    return _tokenizer(pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel())


def _decode(tokenizer, ids):
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def _ids(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False)


def test_words_and_special_tokens_keep_their_text(byte_level):
    ids = _ids(byte_level, "the sum , is\n\\boxed{7}<|im_end|>")
    pieces = token_pieces(ids, byte_level)
    assert pieces == [_decode(byte_level, [i]) for i in ids]
    assert pieces[-1] == "<|im_end|>"
    assert " sum" in pieces


def test_special_token_with_text_outside_the_byte_alphabet(byte_level):
    """Its space is not a byte-level character, so the entry is literal."""
    assert token_pieces(_ids(byte_level, "7<|a b é|>7"), byte_level) == ["7", "<|a b é|>", "7"]


def test_the_token_that_completes_a_character_gets_it(byte_level):
    """The degree sign has two bytes, the angle sign three, the emoji four; no merge was learnt for them."""
    pieces = token_pieces(_ids(byte_level, "5°∠😀"), byte_level)
    assert pieces == ["5", "", "°", "", "", "∠", "", "", "", "😀"]


def test_response_cut_inside_a_character_ends_as_it_decodes(byte_level):
    ids = _ids(byte_level, "5∠")[:-1]
    assert token_pieces(ids, byte_level) == ["5", "", "\ufffd"]


def test_broken_bytes_are_replaced_where_known(byte_level):
    """Two bytes of an angle sign, then a digit."""
    ids = [*_ids(byte_level, "∠")[:-1], *_ids(byte_level, "7")]
    assert token_pieces(ids, byte_level) == ["", "", "\ufffd7"]


def test_no_tokens_no_pieces(byte_level):
    assert token_pieces([], byte_level) == []


@settings(derandomize=True, deadline=None)
@given(text=st.text(max_size=60))
def test_pieces_of_any_text_join_to_it(byte_level, text):
    ids = _ids(byte_level, text)
    pieces = token_pieces(ids, byte_level)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == text


@settings(derandomize=True, deadline=None)
@given(ids=st.lists(st.integers(0, 280), max_size=60))
def test_pieces_of_any_ids_join_to_the_decoded_text(byte_level, ids):
    ids = [i for i in ids if i < len(byte_level)]
    assert "".join(token_pieces(ids, byte_level)) == _decode(byte_level, ids)


def test_other_tokenizers_are_refused():
    metaspace = _tokenizer(pre_tokenizers.Metaspace(), decoders.Metaspace())
    with pytest.raises(ValueError, match="byte-level BPE"):
        token_pieces(_ids(metaspace, "the sum is"), metaspace)
