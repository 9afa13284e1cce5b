"""The chunked form against the materialised one, on sizes that a CPU does at once."""

import dataclasses
from functools import partial

import pytest
import torch

from tests.tolerances import assert_close
from verl_vaopd.algorithms import chunked_pass, divergence
from verl_vaopd.algorithms.divergences import JS, ForwardKL, ReverseKL, TopKReverseKL, divergence_from
from verl_vaopd.algorithms.fused_divergence import (
    fused_divergence,
    token_log_probs,
    token_log_probs_with_entropy,
)

NUM_TOKENS, STUDENT_DIM, TEACHER_DIM, VOCAB = 23, 8, 12, 47
JS_BETA, TOP_K = 0.3, 5
DIVERGENCES = {
    "reverse_kl": ReverseKL(),
    "forward_kl": ForwardKL(),
    "js": JS(js_beta=JS_BETA),
    "top_k": TopKReverseKL(top_k=TOP_K),
}
MATERIALISED = {
    "reverse_kl": divergence.reverse_kl,
    "forward_kl": divergence.forward_kl,
    "js": partial(divergence.js_divergence, beta=JS_BETA),
    "top_k": partial(divergence.top_k_reverse_kl, k=TOP_K),
}
KINDS = tuple(DIVERGENCES)
DTYPES = [torch.float64, torch.float32, torch.bfloat16]


class Case:
    """Random hidden states and heads; padded rows of the heads would win every softmax."""

    def __init__(self, dtype=torch.float32, num_tokens=NUM_TOKENS, padding=(3, 13)):
        generator = torch.Generator().manual_seed(5)

        def normal(*shape):
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        def head(dim, pad):
            return torch.cat([normal(VOCAB, dim), torch.full((pad, dim), 100.0)]).to(dtype)

        self.student_hidden = normal(num_tokens, STUDENT_DIM).to(dtype).requires_grad_()
        self.student_head = head(STUDENT_DIM, padding[0]).requires_grad_()
        self.teacher_hidden = normal(num_tokens, TEACHER_DIM).to(dtype)
        self.teacher_head = head(TEACHER_DIM, padding[1])
        self.weights = torch.rand(num_tokens, generator=generator)
        self.token_ids = torch.randint(0, VOCAB, (num_tokens,), generator=generator)

    @property
    def tensors(self):
        return self.student_hidden, self.student_head, self.teacher_hidden, self.teacher_head

    def logits(self):
        return self.student_hidden @ self.student_head.T, self.teacher_hidden @ self.teacher_head.T

    def materialised(self, kind, **options):
        return MATERIALISED[kind](*self.logits(), vocab_size=VOCAB, **options)

    def fused(self, kind, **options):
        return fused_divergence(DIVERGENCES[kind], *self.tensors, **{"vocab_size": VOCAB} | options).divergence

    def with_statistics(self, kind, **options):
        return fused_divergence(DIVERGENCES[kind], *self.tensors, self.token_ids, vocab_size=VOCAB, **options)

    def token_log_probs(self, **options):
        return token_log_probs_with_entropy(*self.tensors[:2], self.token_ids, vocab_size=VOCAB, **options)

    def materialised_log_probs(self, temperature=1.0):
        """[N, VOCAB] in float32 at least, from logits of the tensors' dtype."""
        logits = self.logits()[0][:, :VOCAB]
        return torch.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature, dim=-1)

    def gradients(self, loss):
        return torch.autograd.grad(loss, (self.student_hidden, self.student_head))


def name(dtype):
    return str(dtype).removeprefix("torch.")


@pytest.fixture
def count_passes(monkeypatch):
    """One entry for each time the vocabulary was gone through: what was asked for besides the values."""
    calls = []
    original = chunked_pass.pass_over_chunks

    def counted(*args, **kwargs):
        calls.append(kwargs)
        return original(*args, **kwargs)

    monkeypatch.setattr(chunked_pass, "pass_over_chunks", counted)
    return calls


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=name)
@pytest.mark.parametrize(
    ("chunk_size", "expected_grad"),
    # Every hint with a last chunk that is cut; every other way to cut with one that is kept and one that is not.
    [(7, "none"), (7, "right"), (7, "scaled"), (7, "wrong"), (1, "right"), (NUM_TOKENS, "wrong"), (1000, "scaled")],
)
def test_equals_materialised(kind, dtype, chunk_size, expected_grad):
    case = Case(dtype)
    hint = {"none": None, "right": case.weights, "scaled": 8 * case.weights, "wrong": 1 - case.weights}[expected_grad]
    fused, materialised = case.fused(kind, chunk_size=chunk_size, expected_grad=hint), case.materialised(kind)
    # Logits are rounded to the same bfloat16 in both forms, so values agree better than gradients.
    assert_close(fused, materialised, "float64" if dtype == torch.float64 else "float32")
    assert fused.dtype == materialised.dtype
    gradients = case.gradients((case.weights * fused).sum())
    for actual, expected in zip(gradients, case.gradients((case.weights * materialised).sum()), strict=True):
        assert actual.dtype == dtype
        assert_close(actual, expected, name(dtype))
    assert (gradients[1][VOCAB:] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_within_a_chunk_change_nothing(kind, monkeypatch):
    case = Case(torch.float64)
    monkeypatch.setitem(chunked_pass.BLOCK_ELEMENTS, "cpu", 3 * VOCAB)
    fused = case.fused(kind, chunk_size=7)
    assert_close(fused, case.materialised(kind), "float64")


def test_bfloat16_head_gradient_is_summed_in_float32(monkeypatch):
    # The same token 600 times, a chunk each: a bfloat16 sum stalls as soon as it is 256 times what each chunk adds.
    num_tokens = 600
    case = Case(torch.bfloat16, num_tokens=num_tokens)
    monkeypatch.setitem(chunked_pass.BLOCK_ELEMENTS, "cpu", 5 * STUDENT_DIM)
    with torch.no_grad():
        for tensor in (case.student_hidden, case.teacher_hidden):
            tensor.copy_(tensor[:1].expand_as(tensor))
    one_chunk = case.gradients(case.fused("reverse_kl", chunk_size=num_tokens).sum())[1]
    many_chunks = case.gradients(case.fused("reverse_kl", chunk_size=1).sum())[1]
    assert_close(many_chunks, one_chunk, "bfloat16")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_a_temperature_is_that_of_the_divergence_alone(kind, temperature):
    """Value and gradient are those of logits divided by it; what metrics read stays at temperature 1."""
    case = Case(torch.float64)
    of_kind = dataclasses.replace(DIVERGENCES[kind], temperature=temperature)
    output = fused_divergence(of_kind, *case.tensors, case.token_ids, vocab_size=VOCAB, chunk_size=7)
    expected = case.materialised(kind, temperature=temperature)
    assert_close(output.divergence, expected, "float64")
    gradients = case.gradients((case.weights * output.divergence).sum())
    for actual, wanted in zip(gradients, case.gradients((case.weights * expected).sum()), strict=True):
        assert_close(actual, wanted, "float64")
    at_one = case.with_statistics(kind, chunk_size=7)
    for name in ("student_log_probs", "student_entropy", "teacher_entropy", "reverse_kl"):
        assert_close(getattr(output, name), getattr(at_one, name), "float64")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("chunk_size", "temperature"), [(1, 1.0), (4, 1.7), (5, 1.0)])
def test_gradcheck(kind, chunk_size, temperature):
    case = Case(torch.float64, num_tokens=5)
    of_kind = dataclasses.replace(DIVERGENCES[kind], temperature=temperature)

    def function(student_hidden, student_head):
        tensors = student_hidden, student_head, *case.tensors[2:]
        return fused_divergence(of_kind, *tensors, vocab_size=VOCAB, chunk_size=chunk_size).divergence

    assert torch.autograd.gradcheck(function, case.tensors[:2])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk_size", [1, 7, 100])
def test_statistics(kind, chunk_size):
    case = Case()
    output = case.with_statistics(kind, chunk_size=chunk_size, expected_grad=case.weights)
    student, teacher = (torch.distributions.Categorical(logits=x[:, :VOCAB].double()) for x in case.logits())
    assert torch.equal(output.divergence, case.fused(kind, chunk_size=chunk_size))
    assert torch.equal(output.reverse_kl, case.fused("reverse_kl", chunk_size=chunk_size))
    assert_close(output.student_log_probs, student.log_prob(case.token_ids), "float32")
    assert_close(output.student_entropy, student.entropy(), "float32")
    assert_close(output.teacher_entropy, teacher.entropy(), "float32")
    assert output.divergence.requires_grad
    assert not any(values.requires_grad for values in output[1:])
    gradients = case.gradients((case.weights * output.divergence).sum())
    expected = case.gradients((case.weights * case.materialised(kind)).sum())
    for actual, wanted in zip(gradients, expected, strict=True):
        assert_close(actual, wanted, "float32")


def test_a_divergence_takes_those_of_the_options_that_are_its_own():
    options = {"temperature": 1.0, "js_beta": 7.0, "top_k": 0}
    assert divergence_from("forward_kl", options) == ForwardKL()
    assert divergence_from(None, options) is None
    assert divergence_from("js", options | {"js_beta": 0.3}) == JS(js_beta=0.3)
    assert divergence_from("js", options | {"js_beta": 0.3, "temperature": 2.0}).temperature == 2
    with pytest.raises(ValueError, match=r"^temperature: got 0, expected more than 0"):
        divergence_from("forward_kl", options | {"temperature": 0})
    with pytest.raises(ValueError, match=r"^js_beta: got 7\.0, expected more than 0, less than 1"):
        divergence_from("js", options)
    with pytest.raises(ValueError, match=r"^top_k: got 0, expected at least 1 token"):
        divergence_from("top_k", options)
    with pytest.raises(ValueError, match=r"^top_k: got 1\.5, expected a whole number, at least 1 token"):
        divergence_from("top_k", options | {"top_k": 1.5})
    with pytest.raises(ValueError, match=r"^divergence: got 'kl', expected one of reverse_kl, forward_kl, js, top_k"):
        divergence_from("kl", options)


@pytest.mark.parametrize("kind", KINDS)
def test_no_divergence_of_equal_models_is_negative(kind):
    """Rounding leaves some slightly negative, which every way to get them lifts to 0."""
    case = Case(num_tokens=200)
    case.teacher_hidden, case.teacher_head = case.student_hidden.detach() * (1 + 1e-6), case.student_head.detach()
    output = case.with_statistics(kind)
    assert (output.divergence >= 0).all()
    assert (output.reverse_kl >= 0).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=name)
@pytest.mark.parametrize(
    ("chunk_size", "temperature", "expected_grad"),
    [
        (7, 0.7, "none"),
        (7, 0.7, "right"),
        (7, 0.7, "negative"),
        (7, 0.7, "wrong"),
        (1, 1.0, "right"),
        (100, 1.0, "wrong"),
    ],
)
def test_token_log_probs_with_entropy(dtype, chunk_size, temperature, expected_grad):
    case = Case(dtype)
    hint = {"none": None, "right": case.weights, "negative": -2 * case.weights, "wrong": 1 - case.weights}
    log_probs, entropy = case.token_log_probs(
        chunk_size=chunk_size, temperature=temperature, expected_grad=hint[expected_grad]
    )
    materialised = case.materialised_log_probs(temperature)
    expected = materialised.gather(1, case.token_ids[:, None])[:, 0]
    limit = "float64" if dtype == torch.float64 else "float32"
    assert_close(log_probs, expected, limit)
    assert_close(entropy, -(materialised.exp() * materialised).sum(dim=1), limit)
    assert log_probs.dtype == entropy.dtype == expected.dtype
    assert not entropy.requires_grad
    gradients = case.gradients((case.weights * log_probs).sum())
    for actual, wanted in zip(gradients, case.gradients((case.weights * expected).sum()), strict=True):
        assert actual.dtype == dtype
        assert_close(actual, wanted, name(dtype))
    assert (gradients[1][VOCAB:] == 0).all()


@pytest.mark.parametrize("temperature", [1.0, 1.7])
def test_token_log_probs_gradcheck(temperature):
    case = Case(torch.float64, num_tokens=5)

    def function(hidden, head):
        return token_log_probs_with_entropy(
            hidden, head, case.token_ids, vocab_size=VOCAB, chunk_size=2, temperature=temperature
        )[0]

    assert torch.autograd.gradcheck(function, case.tensors[:2])


def test_token_log_probs_with_and_without_gradient_are_the_same_numbers():
    case = Case()
    constant = token_log_probs(*case.tensors[:2], case.token_ids, vocab_size=VOCAB, chunk_size=7)
    assert torch.equal(case.token_log_probs(chunk_size=7)[0], constant)
    with torch.no_grad():
        log_probs, _ = case.token_log_probs(chunk_size=7)
    assert not log_probs.requires_grad
    assert torch.equal(log_probs, constant)


@pytest.mark.parametrize("chunk_size", [1, 7, 100])
def test_forward_kl_to_a_teacher_that_is_sure_of_the_token_is_the_negative_log_likelihood(chunk_size):
    # The teacher's logit is 1e4 at the token and 0 elsewhere, so its probability is 1 to the last digit.
    case = Case(torch.float64)
    case.teacher_head = 1e4 * torch.eye(VOCAB, dtype=torch.float64)
    case.teacher_hidden = torch.nn.functional.one_hot(case.token_ids, VOCAB).double()
    forward = case.fused("forward_kl", chunk_size=chunk_size)
    negative_log_likelihood = -case.token_log_probs(chunk_size=chunk_size)[0]
    assert_close(forward, negative_log_likelihood, "float64")
    expected = case.gradients((case.weights * negative_log_likelihood).sum())
    for actual, wanted in zip(case.gradients((case.weights * forward).sum()), expected, strict=True):
        assert_close(actual, wanted, "float64")


def test_a_right_hint_saves_the_second_pass_for_log_probs_too(count_passes):
    case = Case()
    log_probs, _ = case.token_log_probs(chunk_size=7, expected_grad=case.weights)
    case.gradients(-3 * (case.weights * log_probs).sum())
    assert len(count_passes) == 1


@pytest.mark.parametrize("dtype", DTYPES, ids=name)
@pytest.mark.parametrize("chunk_size", [1, 7, 100])
def test_token_log_probs(dtype, chunk_size):
    case = Case(dtype)
    log_probs = token_log_probs(
        case.student_hidden, case.student_head, case.token_ids, vocab_size=VOCAB, chunk_size=chunk_size
    )
    logits = (case.student_hidden @ case.student_head.T)[:, :VOCAB].double()
    expected = torch.log_softmax(logits, dim=-1).gather(1, case.token_ids[:, None])[:, 0]
    assert_close(log_probs, expected, "float64" if dtype == torch.float64 else "float32")
    assert not log_probs.requires_grad


def test_a_right_hint_saves_the_second_pass(count_passes):
    case = Case()
    values = case.fused("reverse_kl", chunk_size=7, expected_grad=case.weights)
    case.gradients(3 * (case.weights * values).sum())
    assert len(count_passes) == 1
    values = case.fused("reverse_kl", chunk_size=7)
    case.gradients(values.mean())
    assert len(count_passes) == 2


def test_no_hint_is_needed_for_a_frozen_head(count_passes):
    case = Case()
    case.student_head.requires_grad_(False)
    (case.weights * case.fused("reverse_kl")).sum().backward()
    assert len(count_passes) == 1
    assert case.student_hidden.grad is not None


def test_hint_with_zeros():
    case = Case(torch.float64)
    weights = torch.where(torch.arange(NUM_TOKENS) % 3 == 0, 0.0, case.weights)
    for hint in (weights, torch.zeros(NUM_TOKENS)):
        gradients = case.gradients((weights * case.fused("reverse_kl", expected_grad=hint)).sum())
        expected = case.gradients((weights * case.materialised("reverse_kl")).sum())
        assert_close(gradients[0], expected[0], "float64")
        assert_close(gradients[1], expected[1], "float64")


@pytest.mark.parametrize("hint", [False, True])
def test_backward_twice_over_a_retained_graph_adds_up(hint):
    case = Case(torch.float64)
    loss = 3 * (case.weights * case.fused("reverse_kl", expected_grad=case.weights if hint else None)).sum()
    expected = case.gradients(3 * (case.weights * case.materialised("reverse_kl")).sum())
    loss.backward(retain_graph=True)
    loss.backward()
    assert_close(case.student_hidden.grad, 2 * expected[0], "float64")
    assert_close(case.student_head.grad, 2 * expected[1], "float64")


def test_differentiating_twice_is_refused():
    case = Case()
    (gradient,) = torch.autograd.grad(case.fused("reverse_kl").square().sum(), case.student_hidden, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("kind", KINDS)
def test_no_gradient_reaches_the_teacher(kind):
    case = Case()
    case.teacher_hidden.requires_grad_()
    case.teacher_head.requires_grad_()
    case.fused(kind).sum().backward()
    assert case.teacher_hidden.grad is None
    assert case.teacher_head.grad is None
    assert case.student_head.grad.abs().max() > 0
    with torch.no_grad():
        constant = case.student_hidden.detach(), case.student_head.detach()
    values = fused_divergence(DIVERGENCES[kind], *constant, *case.tensors[2:], vocab_size=VOCAB).divergence
    assert not values.requires_grad


def test_without_grad_mode_no_gradient_is_computed(count_passes):
    case = Case()
    with torch.no_grad():
        values = case.fused("reverse_kl")
    assert not values.requires_grad
    assert count_passes == [{"want_statistics": False, "want_hidden_grad": False, "head_grad_weights": None}]
    assert_close(values, case.materialised("reverse_kl"), "float32")


def test_tied_embedding_gets_both_gradients():
    case = Case(torch.float64)
    ids = case.token_ids

    def loss(function, head):
        hidden = head[ids] + case.student_hidden.detach()
        return function(hidden, head).sum()

    def fused(hidden, head):
        return fused_divergence(ReverseKL(), hidden, head, *case.tensors[2:], vocab_size=VOCAB).divergence

    def materialised(hidden, head):
        return divergence.reverse_kl(hidden @ head.T, case.logits()[1], VOCAB)

    (actual,) = torch.autograd.grad(loss(fused, case.student_head), case.student_head)
    (expected,) = torch.autograd.grad(loss(materialised, case.student_head), case.student_head)
    assert_close(actual, expected, "float64")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=name)
def test_autocast_does_not_reach_inside(dtype):
    case = Case(dtype)

    def run():
        results = [token_log_probs(*case.tensors[:2], case.token_ids, vocab_size=VOCAB)]
        for weights in (torch.ones(NUM_TOKENS), case.weights):  # backward scales, backward computes again
            values = case.fused("reverse_kl", chunk_size=7)
            results += [values, *case.gradients((weights * values).sum())]
        return results

    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = run()
    for actual, expected in zip(inside, run(), strict=True):
        assert torch.equal(actual, expected)


def test_teacher_may_have_another_dtype():
    case = Case(torch.float32)
    teacher = case.teacher_hidden.bfloat16(), case.teacher_head.bfloat16()
    values = fused_divergence(ReverseKL(), *case.tensors[:2], *teacher, vocab_size=VOCAB).divergence
    teacher_logits = case.teacher_hidden.bfloat16() @ case.teacher_head.bfloat16().T
    assert_close(values, divergence.reverse_kl(case.logits()[0], teacher_logits, VOCAB), "float32")


def test_no_tokens():
    case = Case(num_tokens=0)
    output = case.with_statistics("reverse_kl")
    assert [values.shape for values in output] == [(0,)] * 5
    hidden_grad, head_grad = case.gradients(output.divergence.sum())
    assert hidden_grad.shape == (0, STUDENT_DIM)
    assert (head_grad == 0).all()
    log_probs, entropy = case.token_log_probs()
    assert log_probs.shape == entropy.shape == (0,)
    assert [gradient.shape[0] for gradient in case.gradients(log_probs.sum())] == [0, VOCAB + 3]
    assert token_log_probs(*case.tensors[:2], case.token_ids).shape == (0,)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=name)
def test_cuda_equals_materialised(kind, dtype):
    case = Case(dtype)
    for attribute in ("student_hidden", "student_head", "teacher_hidden", "teacher_head", "weights"):
        setattr(case, attribute, getattr(case, attribute).detach().cuda())
    case.student_hidden.requires_grad_()
    case.student_head.requires_grad_()
    fused, materialised = case.fused(kind, chunk_size=7, expected_grad=case.weights), case.materialised(kind)
    assert_close(fused, materialised, name(dtype))
    gradients = case.gradients((case.weights * fused).sum())
    for actual, expected in zip(gradients, case.gradients((case.weights * materialised).sum()), strict=True):
        assert_close(actual, expected, name(dtype))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("tensor", "value"),
    [
        ("student_hidden", torch.nan),
        ("student_head", torch.inf),
        ("teacher_hidden", torch.inf),
        ("teacher_head", torch.nan),
    ],
)
def test_non_finite_input_is_reported(kind, tensor, value):
    case = Case()
    with torch.no_grad():
        getattr(case, tensor)[2, 1] = value
    with pytest.raises(ValueError, match=r"^divergence: got .* at row"):
        case.fused(kind, chunk_size=7)


def test_non_finite_rows_are_named():
    case = Case()
    with torch.no_grad():
        case.student_hidden[[4, 9]] = torch.nan
    with pytest.raises(ValueError, match="at row 4, 9, expected finite"):
        case.fused("reverse_kl", chunk_size=7)
    with pytest.raises(ValueError, match=r"^token_log_probs: got nan at row 4, 9"):
        token_log_probs(*case.tensors[:2], case.token_ids)
    with pytest.raises(ValueError, match=r"^token_log_probs: got nan at row 4, 9"):
        case.token_log_probs()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student_hidden": torch.zeros(4, 9)}, r"^student_hidden, student_head: got shapes \(4, 9\)"),
        ({"student_hidden": torch.zeros(2, 2, 8)}, "^student_hidden, student_head: got shapes"),
        ({"teacher_head": torch.zeros(60)}, "^teacher_hidden, teacher_head: got shapes"),
        ({"teacher_hidden": torch.zeros(5, 12)}, "got 4 tokens of the student and 5 of the teacher"),
        ({"student_hidden": torch.zeros(4, 8).bfloat16()}, "got dtypes torch.bfloat16 and torch.float32"),
        ({"teacher_hidden": torch.zeros(4, 12).long(), "teacher_head": torch.zeros(60, 12).long()}, "got dtypes"),
        ({"vocab_size": None}, "^vocabularies differ: got 50 student and 60 teacher"),
        ({"vocab_size": 51}, "^vocab_size: got 51, expected 1 to 50"),
        ({"chunk_size": 0}, "^chunk_size: got 0"),
        ({"expected_grad": torch.ones(4, 1)}, r"^expected_grad: got shape \(4, 1\)"),
        ({"token_ids": torch.zeros(4)}, "^token_ids: got torch.float32"),
        ({"token_ids": torch.zeros(5).long()}, r"^token_ids: got torch.int64 of shape \(5,\)"),
        ({"token_ids": torch.tensor([0, 1, VOCAB, 2])}, "^token_ids: got 47 at row 2, expected 0 to 46"),
        ({"token_ids": torch.tensor([0, -1, 3, 2])}, "^token_ids: got -1 at row 1"),
    ],
)
def test_rejects(changes, message):
    arguments = {
        "student_hidden": torch.zeros(4, 8),
        "student_head": torch.zeros(50, 8),
        "teacher_hidden": torch.zeros(4, 12),
        "teacher_head": torch.zeros(60, 12),
        "token_ids": torch.zeros(4, dtype=torch.int64),
        "vocab_size": VOCAB,
    }
    with pytest.raises(ValueError, match=message):
        fused_divergence(ReverseKL(), **(arguments | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": torch.zeros(4, 9)}, r"^hidden, head: got shapes \(4, 9\)"),
        ({"vocab_size": 51}, "^vocab_size: got 51, expected 1 to 50"),
        ({"chunk_size": 0}, "^chunk_size: got 0"),
        ({"temperature": 0.0}, "^temperature: got 0.0"),
        ({"temperature": float("nan")}, "^temperature: got nan"),
        ({"expected_grad": torch.ones(5)}, r"^expected_grad: got shape \(5,\)"),
        ({"token_ids": torch.tensor([0, 1, VOCAB, 2])}, "^token_ids: got 47 at row 2, expected 0 to 46"),
    ],
)
def test_token_log_probs_reject(changes, message):
    arguments = {
        "hidden": torch.zeros(4, 8),
        "head": torch.zeros(50, 8),
        "token_ids": torch.zeros(4, dtype=torch.int64),
        "vocab_size": VOCAB,
    }
    with pytest.raises(ValueError, match=message):
        token_log_probs_with_entropy(**(arguments | changes))
