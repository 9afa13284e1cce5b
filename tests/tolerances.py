"""The one table of tolerances: how closely two ways to compute the same number have to agree, by what limits them."""

import torch

RELATIVE = {
    # Both in float64: rounding of a few thousand operations.
    "float64": 1e-11,
    # Float32 against float64 or against float32 in another order: a few times 2**-24, times the length of the sum.
    "float32": 1e-5,
    # Gradients through bfloat16 matrix products, whose factors are rounded to 8 bits.
    "bfloat16": 1e-2,
}


def assert_close(actual: torch.Tensor, expected: torch.Tensor, limit: str) -> None:
    """Same shape, and a difference below RELATIVE[limit] of the expected tensor's largest absolute value.

    The scale is the tensor's, not the entry's: an entry near zero is the difference of larger ones.
    """
    assert actual.shape == expected.shape, f"shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    if expected.numel() == 0:
        return
    difference = (actual.double() - expected.double()).abs().max().item()
    scale = expected.double().abs().max().item()
    assert difference <= RELATIVE[limit] * scale, f"differs by {difference:.3g}, scale {scale:.3g}, limit {limit}"
