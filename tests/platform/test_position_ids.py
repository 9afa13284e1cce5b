"""The replacement of verl's maybe_fix_3d_position_ids on every layout a batch of position ids arrives in."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict
from verl.utils import tensordict_utils

from verl_vaopd.platform.patches import _ragged_in_sequence

ROWS = st.sampled_from([3, 4])
LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=6)


def sequences(num_rows: int, lengths: list[int]) -> list[torch.Tensor]:
    numbers = torch.arange(num_rows * sum(lengths))
    return [part.reshape(num_rows, -1) for part in numbers.split([num_rows * length for length in lengths])]


def fixed(position_ids: torch.Tensor, num_sequences: int) -> TensorDict:
    batch = TensorDict({"position_ids": position_ids}, batch_size=[num_sequences])
    _ragged_in_sequence(batch)
    return batch


def assert_holds(batch: TensorDict, expected: list[torch.Tensor]) -> None:
    kept = batch["position_ids"].unbind()
    assert [row.tolist() for row in kept] == [row.tolist() for row in expected]
    packed = torch.cat(expected, dim=1)  # what the engine reads: verl/workers/engine/fsdp/transformer_impl.py:1194
    assert batch["position_ids"].values().tolist() == packed.tolist()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(num_rows=ROWS, length=st.integers(1, 24), num_sequences=st.integers(1, 6))
def test_equally_long_sequences_as_the_queue_stacks_them(num_rows: int, length: int, num_sequences: int) -> None:
    expected = sequences(num_rows, [length] * num_sequences)
    stacked = torch.nested.as_nested_tensor(expected, layout=torch.jagged)
    assert_holds(fixed(stacked, num_sequences), expected)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(num_rows=ROWS, lengths=LENGTHS)
def test_layout_of_verl_whose_dimension_was_lost(num_rows: int, lengths: list[int]) -> None:
    if sum(lengths) < 3 * len(lengths) and num_rows == sum(lengths):
        lengths = [*lengths, 12]  # no batch has as few tokens as a sequence has rows
    expected = sequences(num_rows, lengths)
    nested = tensordict_utils.nested_tensor_from_tensor_list(expected, ragged_idx=2)
    nested._ragged_idx = 1  # pickling does this
    assert_holds(fixed(nested, len(lengths)), expected)


def test_square_batch_is_read_as_stacked() -> None:
    """2 sequences of 4 rows and 8 tokens: 8 stacked rows of 8, where row offsets could be token offsets as well."""
    expected = sequences(4, [8, 8])
    stacked = torch.nested.as_nested_tensor(expected, layout=torch.jagged)
    assert stacked.values().shape == (8, 8)
    assert_holds(fixed(stacked, 2), expected)


def test_equally_long_sequences_can_be_split_as_the_engine_does() -> None:
    expected = sequences(4, [5, 5, 5, 5])
    batch = fixed(torch.nested.as_nested_tensor(expected, layout=torch.jagged), 4)
    parts = [
        tensordict_utils.index_select_tensor_dict(batch, [0, 2]),
        tensordict_utils.index_select_tensor_dict(batch, [3]),
    ]
    assert_holds(parts[0], [expected[0], expected[2]])
    assert_holds(parts[1], [expected[3]])


@pytest.mark.parametrize(
    "values", [{}, {"position_ids": torch.zeros(2, 5)}, {"position_ids": torch.zeros(2, 4, 5)}], ids=str
)
def test_other_position_ids_are_left_alone(values: dict[str, torch.Tensor]) -> None:
    batch = TensorDict(dict(values), batch_size=[2])
    _ragged_in_sequence(batch)
    assert set(batch.keys()) == set(values)
    assert all(batch[name] is value for name, value in values.items())
