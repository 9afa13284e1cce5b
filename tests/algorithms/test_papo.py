import math

import pytest
import torch

from verl_vaopd.algorithms.papo import perception_kl, perception_loss


def test_hand_worked_values():
    # The image doubles the token's probability: d = log 1/2, K = 1/2 + log 2 - 1. It halves it: K = 2 - log 2 - 1.
    log_probs = torch.tensor([[0.5, 0.5, 0.5]]).log()
    masked_log_probs = torch.tensor([[0.25, 0.5, 1.0]]).log()
    values = perception_kl(log_probs, masked_log_probs)
    assert values[0].tolist() == pytest.approx([math.log(2) - 0.5, 0.0, 1 - math.log(2)], rel=1e-6)
    assert values.dtype == torch.float32


def test_is_capped_at_ten_nats():
    # d = 2.6 gives e^2.6 - 3.6 = 9.86; d = -10.9 gives 9.9; beyond, 10, also where e^d would overflow.
    d = torch.tensor([[2.6, 2.7, -10.9, -11.1, 500.0, -500.0]], requires_grad=True)
    expected = [math.exp(2.6) - 3.6, 10.0, math.exp(-10.9) + 9.9, 10.0, 10.0, 10.0]
    values = perception_kl(torch.zeros_like(d), d)
    assert values[0].tolist() == pytest.approx(expected, rel=1e-6)
    values.sum().backward()
    assert d.grad[0].tolist() == pytest.approx([math.exp(2.6) - 1, 0, math.exp(-10.9) - 1, 0, 0, 0], rel=1e-6)


def test_tiny_differences_keep_their_digits():
    # d^2 / 2 to the last digit; e^d - 1 - d in float32 would be 0 here, or noise.
    d = torch.tensor([1e-3, -1e-5, 1e-10])
    expected = [d**2 / 2 * (1 + d / 3) for d in d.double().tolist()]
    assert perception_kl(torch.zeros(3), d).tolist() == pytest.approx(expected, rel=3e-7, abs=0)


def test_gradient():
    # Both sides of the switch to the series, both signs, and values beyond the cap.
    d = torch.tensor([-12.0, -3.0, -0.6, -0.4, -1e-3, 0.0, 1e-3, 0.4, 0.6, 2.0, 3.0, 25.0], dtype=torch.float64)
    log_probs = torch.linspace(-30, -26, len(d), dtype=torch.float64)
    masked_log_probs = (log_probs + d).requires_grad_()
    log_probs.requires_grad_()
    assert torch.autograd.gradcheck(perception_kl, (log_probs, masked_log_probs))
    gradient, masked_gradient = torch.autograd.grad(
        perception_kl(log_probs, masked_log_probs).sum(), (log_probs, masked_log_probs)
    )
    expected = torch.where((d < -11) | (d > 2.7), 0.0, 1 - d.exp())
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(masked_gradient, -expected, rtol=1e-9, atol=1e-12)


def test_hand_worked_loss():
    # Token 0: K = log 2 - 1/2, entropies log 2 and log 4. Token 1: K = 0, both log 2. Token 2 does not count.
    log_probs = torch.tensor([[0.5, 0.5, 0.1]]).log()
    masked_log_probs = torch.tensor([[0.25, 0.5, 0.9]]).log()
    weights = torch.tensor([[0.5, 0.25, 0.0]])
    log_2 = math.log(2)
    expected = 0.5 * (-0.02 * (log_2 - 0.5) + 0.05 * 3 * log_2) + 0.25 * 0.05 * 2 * log_2
    loss = perception_loss(log_probs, masked_log_probs, weights, perception_coef=0.02, entropy_coef=0.05)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert loss.dtype == torch.float32
    assert loss.dim() == 0
    flat = perception_loss(log_probs[0], masked_log_probs[0], weights[0], perception_coef=0.02, entropy_coef=0.05)
    assert flat.item() == loss.item()


def random_tokens(requires_grad=True):
    generator = torch.Generator().manual_seed(0)
    log_probs, masked_log_probs = -5 * torch.rand(2, 3, 7, generator=generator, dtype=torch.float64)
    weights = torch.rand(3, 7, generator=generator, dtype=torch.float64)
    return log_probs.requires_grad_(requires_grad), masked_log_probs, weights


def test_gradient_of_the_loss_with_and_without_the_masked_branch():
    log_probs, masked_log_probs, weights = random_tokens()
    (constant,) = torch.autograd.grad(perception_loss(log_probs, masked_log_probs, weights, 0.5, 0.1), log_probs)
    masked_log_probs.requires_grad_()
    loss = perception_loss(log_probs, masked_log_probs, weights, 0.5, 0.1)
    clean, masked = torch.autograd.grad(loss, (log_probs, masked_log_probs))
    ratio = (masked_log_probs - log_probs).detach().exp()
    assert torch.equal(clean, constant)
    torch.testing.assert_close(clean, weights * (-0.5 * (1 - ratio) * (ratio < 13.5) - 0.1))
    torch.testing.assert_close(masked, weights * (-0.5 * (ratio - 1) * (ratio < 13.5) - 0.1))
    options = {"perception_coef": 0.5, "entropy_coef": 0.1}
    assert torch.autograd.gradcheck(
        lambda p, q: perception_loss(p, q, weights, **options), (log_probs, masked_log_probs)
    )


@pytest.mark.parametrize("junk", [torch.nan, torch.inf, -torch.inf])
def test_tokens_of_no_weight_may_hold_anything(junk):
    log_probs, masked_log_probs, weights = random_tokens()
    masked_log_probs.requires_grad_()
    weights[1, 2:5] = 0
    expected = perception_loss(log_probs, masked_log_probs, weights, 0.5, 0.1)
    gradients = torch.autograd.grad(expected, (log_probs, masked_log_probs))
    with torch.no_grad():
        log_probs[1, 2:4] = junk
        masked_log_probs[1, 3:5] = junk
    loss = perception_loss(log_probs, masked_log_probs, weights, 0.5, 0.1)
    assert torch.equal(loss, expected)
    for actual, wanted in zip(torch.autograd.grad(loss, (log_probs, masked_log_probs)), gradients, strict=True):
        assert torch.equal(actual, wanted)
        assert (actual[1, 2:5] == 0).all()


def test_coefficients_of_zero_give_no_loss_and_no_gradient():
    log_probs, masked_log_probs, weights = random_tokens()
    loss = perception_loss(log_probs, masked_log_probs, weights, 0.0, 0.0)
    loss.backward()
    assert loss.item() == 0
    assert (log_probs.grad == 0).all()


def test_no_token_of_weight_gives_a_loss_of_zero_that_can_be_differentiated():
    log_probs, masked_log_probs, _ = random_tokens()
    loss = perception_loss(log_probs, masked_log_probs, torch.zeros(3, 7), 0.5, 0.1)
    loss.backward()
    assert loss.item() == 0
    assert (log_probs.grad == 0).all()


def test_weights_are_constants_of_any_dtype():
    log_probs, masked_log_probs, weights = random_tokens()
    weights.requires_grad_()
    perception_loss(log_probs, masked_log_probs, weights, 0.5, 0.1).backward()
    assert weights.grad is None
    mask = weights > 0.5
    as_numbers = perception_loss(log_probs, masked_log_probs, mask.double(), 0.5, 0.1)
    assert torch.equal(perception_loss(log_probs, masked_log_probs, mask, 0.5, 0.1), as_numbers)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_computes_in_float32(dtype):
    log_probs, masked_log_probs, weights = random_tokens(requires_grad=False)
    rounded = log_probs.to(dtype), masked_log_probs.to(dtype)
    loss = perception_loss(*rounded, weights, 0.5, 0.1)
    exact = perception_loss(*(tensor.double() for tensor in rounded), weights, 0.5, 0.1)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)


def test_inputs_are_left_alone():
    log_probs, masked_log_probs, weights = random_tokens(requires_grad=False)
    kept = [tensor.clone() for tensor in (log_probs, masked_log_probs, weights)]
    perception_loss(log_probs, masked_log_probs, weights, 0.5, 0.1)
    assert all(torch.equal(*pair) for pair in zip((log_probs, masked_log_probs, weights), kept, strict=True))


@pytest.mark.gpu
def test_cuda_equals_cpu():
    tensors = random_tokens(requires_grad=False)
    on_cuda = perception_loss(*(tensor.cuda() for tensor in tensors), 0.5, 0.1)
    torch.testing.assert_close(on_cuda.cpu(), perception_loss(*tensors, 0.5, 0.1))


def with_value(value, token):
    tensor = torch.full((2, 3), 0.5)
    tensor[1, token] = value
    return tensor


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"perception_coef": -0.1}, r"^perception_coef: got -0\.1, expected a finite number of at least 0"),
        ({"perception_coef": float("nan")}, "^perception_coef: got nan"),
        ({"entropy_coef": -1}, "^entropy_coef: got -1"),
        ({"entropy_coef": float("inf")}, "^entropy_coef: got inf"),
        ({"masked_log_probs": torch.zeros(2, 4)}, r"shapes differ.*masked_log_probs \(2, 4\)"),
        ({"token_weights": torch.zeros(6)}, r"shapes differ.*token_weights \(6,\)"),
        ({"token_weights": with_value(-0.5, 0)}, "^token_weights: got a negative"),
        ({"token_weights": with_value(torch.nan, 0)}, "^token_weights: got a negative, infinite or NaN"),
        ({"token_weights": with_value(torch.inf, 0)}, "^token_weights: got a negative, infinite"),
        ({"log_probs": with_value(torch.nan, 1)}, "^log_probs: got NaN or infinity at 1 tokens"),
        ({"masked_log_probs": with_value(-torch.inf, 1)}, "^masked_log_probs: got NaN or infinity at 1 tokens"),
    ],
)
def test_rejects(changes, message):
    arguments = {
        "log_probs": -torch.ones(2, 3),
        "masked_log_probs": -torch.ones(2, 3),
        "token_weights": torch.ones(2, 3),
        "perception_coef": 0.1,
        "entropy_coef": 0.1,
    }
    with pytest.raises(ValueError, match=message):
        perception_loss(**(arguments | changes))


def test_perception_kl_rejects_unequal_shapes():
    with pytest.raises(ValueError, match="shapes differ"):
        perception_kl(torch.zeros(2, 3), torch.zeros(3))
