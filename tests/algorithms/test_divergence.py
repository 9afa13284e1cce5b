import math

import pytest
import torch

from tests.tolerances import assert_close
from verl_vaopd.algorithms.divergence import forward_kl, js_divergence, reverse_kl, top_k_reverse_kl


def top_3_reverse_kl(student_logits, teacher_logits, vocab_size=None, **options):
    return top_k_reverse_kl(student_logits, teacher_logits, 3, vocab_size, **options)


DIVERGENCES = [reverse_kl, forward_kl, js_divergence, top_3_reverse_kl]


def logits(seed, rows=5, columns=11, dtype=torch.float64, **options):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=dtype).requires_grad_(
        **options
    )


def test_hand_worked_values():
    # Student (1/2, 1/2), teacher (1/4, 3/4), in nats.
    student = torch.tensor([[0.5, 0.5]]).log()
    teacher = torch.tensor([[0.25, 0.75]]).log()
    reverse = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    forward = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert reverse_kl(student, teacher).item() == pytest.approx(reverse, rel=1e-6)
    assert forward_kl(student, teacher).item() == pytest.approx(forward, rel=1e-6)


def test_js_at_the_ends_tends_to_the_two_kls():
    student, teacher = logits(1, requires_grad=False), logits(2, requires_grad=False)
    near_zero = js_divergence(student, teacher, beta=1e-6) / 1e-6
    near_one = js_divergence(student, teacher, beta=1 - 1e-6) / 1e-6
    torch.testing.assert_close(near_zero, forward_kl(student, teacher), rtol=1e-4, atol=0)
    torch.testing.assert_close(near_one, reverse_kl(student, teacher), rtol=1e-4, atol=0)


def test_js_of_disjoint_distributions_is_log_two():
    student = torch.tensor([[50.0, -50.0]])
    assert js_divergence(student, -student).item() == pytest.approx(math.log(2), rel=1e-5)


def test_hand_worked_top_k():
    # The teacher's two likeliest are ids 1 and 3; the rest holds 0.3 of the student and 0.2 of the teacher, and how it
    # is shared there does not matter.
    student = torch.tensor([[0.1, 0.2, 0.2, 0.5], [0.0001, 0.2, 0.2999, 0.5]]).log()
    teacher = torch.tensor([[0.15, 0.5, 0.05, 0.3]]).log().expand(2, 4)
    expected = 0.2 * math.log(0.2 / 0.5) + 0.5 * math.log(0.5 / 0.3) + 0.3 * math.log(0.3 / 0.2)
    assert top_k_reverse_kl(student, teacher, 2).tolist() == pytest.approx([expected] * 2, rel=1e-5)


@pytest.mark.parametrize("k", [10, 11, 5000])
def test_top_k_of_all_but_one_is_exact(k):
    student, teacher = logits(1), logits(2, requires_grad=False)
    coarse, exact = top_k_reverse_kl(student, teacher, k), reverse_kl(student, teacher)
    assert torch.equal(coarse, exact)
    gradients = [torch.autograd.grad(values.sum(), student)[0] for values in (coarse, exact)]
    assert_close(gradients[0], gradients[1], "float64")


def test_top_k_with_one_possible_token():
    assert top_k_reverse_kl(torch.randn(3, 1), torch.randn(3, 1), 4).tolist() == [0.0] * 3


@pytest.mark.parametrize("sign", [1, -1])
def test_top_k_with_a_rest_that_is_next_to_nothing(sign):
    """Student and teacher both put all but e^-200 on the top ids, or the student on the rest: 0 or about 200 nats."""
    teacher = torch.tensor([[0.0, 0.0, -200.0, -201.0]])
    student = (sign * teacher).requires_grad_()
    value = top_k_reverse_kl(student, teacher, 2)
    value.sum().backward()
    if sign == 1:
        assert value.item() == 0
        assert (student.grad == 0).all()
    else:
        assert value.item() == pytest.approx(200, rel=1e-2)
        assert student.grad.isfinite().all()


def test_top_k_allows_probability_zero_within_the_rest():
    student, teacher = torch.tensor([[1.0, 0.0, -torch.inf, 2.0]]), torch.tensor([[3.0, 0.0, -1.0, 2.0]])
    expected = top_k_reverse_kl(torch.tensor([[1.0, 0.0, -1e9, 2.0]]), teacher, 1)
    assert torch.equal(top_k_reverse_kl(student, teacher, 1), expected)
    with pytest.raises(ValueError, match=r"^top_k_reverse_kl: got .* at row 0"):
        top_k_reverse_kl(student, teacher.flip(1), 3)


@pytest.mark.parametrize("k", [0, -1, 2.0, "3"])
def test_top_k_rejects_k(k):
    with pytest.raises(ValueError, match=r"^top_k: got .*, expected .*at least 1 token"):
        top_k_reverse_kl(torch.zeros(1, 2), torch.zeros(1, 2), k)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_gradient(divergence):
    student, teacher = logits(1), logits(2, requires_grad=False)
    assert torch.autograd.gradcheck(lambda x: divergence(x, teacher), student)
    assert torch.autograd.gradcheck(lambda x: divergence(x, teacher, 7, temperature=0.6), student)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_no_gradient_reaches_the_teacher(divergence):
    student, teacher = logits(1), logits(2)
    divergence(student, teacher).sum().backward()
    assert teacher.grad is None
    assert student.grad.abs().max() > 0


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_equal_distributions_give_zero_and_no_gradient(divergence):
    student = (30 * logits(3, rows=50, columns=1000, dtype=torch.float32)).detach().requires_grad_()
    # A constant added to all logits changes no probability, though it changes the rounding.
    values = divergence(student, student.detach() + 3)
    values.sum().backward()
    assert (values >= 0).all()
    assert values.max() < 1e-5
    assert student.grad.abs().max() < 1e-4


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_padded_entries_do_not_count(divergence):
    student, teacher = logits(1, columns=9, requires_grad=False), logits(2, columns=9, requires_grad=False)
    junk = torch.full((5, 4), 1e4, dtype=torch.float64)
    padded_student = torch.cat([student, junk], dim=1).requires_grad_()
    padded_teacher = torch.cat([teacher, junk[:, :1]], dim=1)
    values = divergence(padded_student, padded_teacher, vocab_size=9)
    values.sum().backward()
    assert torch.equal(values, divergence(student, teacher))
    assert (padded_student.grad[:, 9:] == 0).all()


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_softmax_is_in_float32(divergence, dtype):
    student, teacher = logits(1, dtype=dtype, requires_grad=False), logits(2, dtype=dtype, requires_grad=False)
    values = divergence(student, teacher)
    assert values.dtype == torch.float32
    assert_close(values, divergence(student.double(), teacher.double()), "float32")


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_no_tokens(divergence):
    assert divergence(torch.empty(0, 5), torch.empty(0, 5)).shape == (0,)


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("side", ["student", "teacher"])
def test_non_finite_logits_are_reported_with_their_row(divergence, value, side):
    # Token 3 is the student's likeliest and among the teacher's three likeliest, unless the value says otherwise.
    student, teacher = torch.eye(6)[3].repeat(4, 1), torch.arange(6.0).remainder(5).repeat(4, 1)
    (student if side == "student" else teacher)[2, 3] = value
    if divergence is top_3_reverse_kl and side == "teacher" and value == -torch.inf:
        pytest.skip("token 3 is then within the rest, where a probability of 0 is allowed")
    with pytest.raises(ValueError, match=rf"^{divergence.__name__.replace('top_3', 'top_k')}: got .* at row 2"):
        divergence(student, teacher)


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize(
    ("shapes", "vocab_size", "message"),
    [
        (((3, 6), (4, 6)), None, r"^logits: got shapes \(3, 6\)"),
        (((3, 6), (6,)), None, "^logits: got shapes"),
        (((3, 6), (3, 7)), None, "^vocabularies differ: got 6 student and 7 teacher"),
        (((3, 6), (3, 7)), 7, "^vocab_size: got 7, expected 1 to 6"),
        (((3, 6), (3, 7)), 0, "^vocab_size: got 0"),
    ],
)
def test_rejects(divergence, shapes, vocab_size, message):
    with pytest.raises(ValueError, match=message):
        divergence(torch.zeros(shapes[0]), torch.zeros(shapes[1]), vocab_size)


@pytest.mark.parametrize("beta", [0.0, 1.0, -0.5, float("nan")])
def test_js_rejects_beta(beta):
    with pytest.raises(ValueError, match=r"^js_beta: got .*, expected more than 0, less than 1"):
        js_divergence(torch.zeros(1, 2), torch.zeros(1, 2), beta=beta)
