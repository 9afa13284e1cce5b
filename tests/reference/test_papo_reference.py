"""PAPO's terms against the loops in papo.py."""

import pytest
import torch

from tests.reference import papo
from tests.reference.batches import random_batch
from tests.tolerances import assert_close
from verl_vaopd.algorithms.papo import perception_kl, perception_loss


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e-3, 0.1, 0.49, 0.51, 2.0, 5.0, 30.0])
def test_perception_kl_is_accurate_at_every_size(dtype, scale):
    """Differences are exact in floating point, so that every token can be held to the rounding of its own value."""
    generator = torch.Generator().manual_seed(1)
    masked = scale * (2 * torch.rand(500, generator=generator, dtype=dtype) - 1)
    values = perception_kl(torch.zeros_like(masked), masked).tolist()
    expected = [papo.perception_kl(0.0, d) for d in masked.tolist()]
    assert values == pytest.approx(expected, rel=20 * torch.finfo(dtype).eps, abs=0)


@pytest.mark.parametrize(("perception_coef", "entropy_coef"), [(0.02, 0.0), (0.02, 0.05), (0.0, 0.03), (1.5, 0.7)])
@pytest.mark.parametrize("flat", [False, True])
def test_perception_loss(perception_coef, entropy_coef, flat):
    batch = random_batch(4, [4, 3, 1], 40)
    log_probs, masked_log_probs = 4 * batch.values.log(), 4 * batch.other.log()
    weights = torch.where(batch.mask, torch.rand(batch.mask.shape, generator=torch.Generator().manual_seed(2)), 0.0)
    tensors = [log_probs, masked_log_probs, weights]
    if flat:
        tensors = [tensor.flatten() for tensor in tensors]
    expected = papo.perception_loss(
        *(tensor[batch.mask].tolist() for tensor in (log_probs, masked_log_probs, weights)),
        perception_coef,
        entropy_coef,
    )
    assert_close(perception_loss(*tensors, perception_coef, entropy_coef), torch.tensor(expected), "float32")
