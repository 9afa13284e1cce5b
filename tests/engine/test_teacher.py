"""The teacher is frozen, and its LM head can be had from its checkpoint alone."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.engine import harness
from tests.engine.harness import Batching
from verl_vaopd.data.tinygeo.models import Qwen3VLForConditionalGeneration
from verl_vaopd.engine.fields import DEGRADED_INPUTS
from verl_vaopd.teacher.head import load_output_head


def parameters(engine):
    return {name: parameter.full_tensor().clone() for name, parameter in engine.module.named_parameters()}


def test_scoring_and_updating_leave_the_teacher_as_it_was(teacher, workspace, batch):
    before = parameters(teacher)
    student = harness.build_student(workspace / "student", workspace / "teacher", lr=1e-2)
    head_before, student_before = student.teacher_head.clone(), parameters(student)
    for _ in range(2):
        harness.step(teacher, student, batch, Batching(rows=4))
    assert all(not torch.equal(student_before[name], value) for name, value in parameters(student).items())
    after = parameters(teacher)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(student.teacher_head, head_before)


def test_no_gradient_reaches_the_teacher(teacher, students, batch):
    harness.step(teacher, students["student"], batch, Batching(rows=4))
    assert all(not p.requires_grad and p.grad is None for p in teacher.module.parameters())
    assert teacher.optimizer is None
    assert not students["student"].teacher_head.requires_grad and students["student"].teacher_head.grad is None


def test_only_what_was_asked_for_is_computed(teacher, batch):
    """Without a degraded view the field need not even be fetched."""
    without_field = [{key: value for key, value in row.items() if key != DEGRADED_INPUTS} for row in batch]
    scores = harness.score(teacher, without_field, Batching(rows=4), degraded_view=False, keep_hidden_states=False)
    assert scores.keys() == {"teacher_log_probs"}


@pytest.mark.parametrize("name", ["teacher", "student"])
@pytest.mark.parametrize("sharded", [False, True])
def test_head_of_a_checkpoint(workspace, tmp_path, name, sharded):
    """Untied (teacher) and tied (student), in one file and in several."""
    path = workspace / name
    model = Qwen3VLForConditionalGeneration.from_pretrained(path, dtype=torch.float32)
    if sharded:
        path = tmp_path
        model.save_pretrained(path, max_shard_size="1MB")
        assert len(json.loads((path / "model.safetensors.index.json").read_text())["weight_map"]) > 1
    head = load_output_head(str(path), torch.float32, "cpu")
    assert torch.equal(head, model.lm_head.weight) and not head.requires_grad
    assert load_output_head(str(path), torch.bfloat16, "cpu").dtype == torch.bfloat16


def test_untied_head_is_not_the_embedding(workspace):
    """Otherwise the test above could not tell them apart."""
    weights = load_file(workspace / "teacher" / "model.safetensors")
    assert not torch.equal(weights["lm_head.weight"], weights["model.language_model.embed_tokens.weight"])


def test_checkpoint_without_a_head(tmp_path):
    save_file({"model.visual.weight": torch.zeros(2, 2)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"no LM head in .* expected one of"):
        load_output_head(str(tmp_path), torch.float32, "cpu")


def test_checkpoint_without_safetensors(tmp_path):
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(ValueError, match="safetensors"):
        load_output_head(str(tmp_path), torch.float32, "cpu")


def test_head_with_a_bias_is_rejected(workspace, process_group, monkeypatch):
    original = Qwen3VLForConditionalGeneration.__init__

    def with_bias(self, config):
        original(self, config)
        self.lm_head.bias = torch.nn.Parameter(torch.zeros(len(self.lm_head.weight)))

    monkeypatch.setattr(Qwen3VLForConditionalGeneration, "__init__", with_bias)
    with pytest.raises(ValueError, match="has a bias"):
        harness.build_teacher(workspace / "teacher")
