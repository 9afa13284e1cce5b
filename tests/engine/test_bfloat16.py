"""Mixed precision as on a GPU: bfloat16 models, float32 parameters of the student, float32 KL and weights."""

import pytest
import torch

from tests.engine import harness
from tests.engine.harness import Batching
from verl_vaopd.algorithms import chunked_pass


@pytest.fixture(scope="module")
def bfloat16_teacher(workspace, process_group):
    return harness.build_teacher(workspace / "teacher", dtype="bf16")


@pytest.fixture(scope="module")
def bfloat16_student(workspace, process_group):
    return harness.build_student(workspace / "student", workspace / "teacher", dtype="bf16")


def test_dtypes(bfloat16_teacher, bfloat16_student, batch, monkeypatch):
    """FSDP casts what it finds in the arguments of a forward pass; token weights must not be among it."""
    seen = {}
    original = type(bfloat16_student).response_forward

    def spy(self, hidden, head, token_ids, extra):
        tensors = {"hidden": hidden, "head": head, **extra}
        seen.update({name: tensor.dtype for name, tensor in tensors.items()})
        return original(self, hidden, head, token_ids, extra)

    monkeypatch.setattr(type(bfloat16_student), "response_forward", spy)
    update = harness.step(bfloat16_teacher, bfloat16_student, batch, Batching(rows=4))
    bfloat16, float32 = torch.bfloat16, torch.float32
    assert seen == {"hidden": bfloat16, "head": bfloat16, "teacher_hidden": bfloat16, "token_weights": float32}
    assert {values[0].dtype for values in update.token_outputs.values()} == {float32}
    assert {gradient.dtype for gradient in update.gradients.values()} == {float32}


def test_the_vocabulary_is_passed_over_once(bfloat16_teacher, bfloat16_student, batch, monkeypatch):
    """The gradient to reverse_kl is what the kernel was told to expect: it need not compute the logits again."""
    passes = []
    original = chunked_pass.pass_over_chunks

    def spy(*args, **kwargs):
        passes.append(kwargs)
        return original(*args, **kwargs)

    monkeypatch.setattr(chunked_pass, "pass_over_chunks", spy)
    harness.step(bfloat16_teacher, bfloat16_student, batch, Batching(rows=4))
    assert len(passes) == 2, "one per micro-batch"


def test_loss_and_gradients(bfloat16_teacher, bfloat16_student, teacher, batch, oracle):
    """With the token weights of float32: which tokens are in the high group is a matter of ranks, not of precision."""
    batching = Batching(rows=4, packed=True)
    weights = harness.weigh(batch, harness.score(teacher, batch, batching))
    hidden = harness.score(bfloat16_teacher, batch, batching)["teacher_hidden_states"]
    update = harness.update(bfloat16_student, batch, hidden, weights, batching)
    expected = oracle["students"]["student"]
    assert update.loss == pytest.approx(expected["loss"]["vaopd"], rel=0.05)
    errors = harness.relative_errors(update.gradients, expected["gradients"]["vaopd"])
    assert max(errors.values()) < 0.3, sorted(errors.items(), key=lambda item: -item[1])[:5]
