"""The student's Ray worker with its teacher, without Ray: what the engines computed, through the calls of the trainer.

verl decides about micro-batches, temperature and the optimizer step here, from the configuration of a real job.
"""

import pytest
import torch
from verl.utils import tensordict_utils as tu

from tests.engine import harness
from verl_vaopd.actor.worker import StudentWorker
from verl_vaopd.config import compose
from verl_vaopd.config.objective import Objective
from verl_vaopd.engine import fields
from verl_vaopd.teacher.request import ScoreRequest
from verl_vaopd.teacher.worker import teacher_worker_config

ABSOLUTE = 2e-5
UPDATE_FIELDS = (*fields.FORWARD, fields.TOKEN_WEIGHTS)


@pytest.fixture(scope="module")
def worker(workspace, process_group, tmp_path_factory):
    """Colocated, at learning rate 0."""
    config = compose(
        [
            *("student=tiny", "teacher=tiny", "dataset=tinygeo", "hardware=cpu"),
            f"student.path={workspace / 'student'}",
            f"teacher.path={workspace / 'teacher'}",
            f"run.dir={tmp_path_factory.mktemp('run')}",
            *("actor_rollout_ref.actor.optim.lr=0.0", "actor_rollout_ref.actor.optim.clip_grad=1e9"),
            "actor_rollout_ref.actor.optim.total_training_steps=10",
        ]
    )
    worker = StudentWorker(config=config.actor_rollout_ref, role="actor")
    worker.init_model()
    tokenizer = worker.student_engine.model_config.tokenizer
    teacher = teacher_worker_config(config, vocab_size=len(tokenizer))
    worker.init_distillation(teacher, Objective.from_config(config), colocated=True)
    return worker


def request(batch, names, settings, **tensors):
    """The rows' fields that a call names, as the queue hands them over, and the settings beside them."""
    per_token = {name: values for name, values in tensors.items() if name in names}
    data = harness.pack(batch, **per_token).select(*names)
    tu.assign_non_tensor(data, **settings)
    return data


def score_request(batch):
    asked = ScoreRequest(degraded_view=True, keep_hidden_states=True)
    return request(batch, asked.reads, asked.settings)


def update_request(batch, names=UPDATE_FIELDS, **tensors):
    """With what verl's trainer writes beside it."""
    settings = {
        "global_batch_size": len(batch),
        "mini_batch_size": len(batch),
        "epochs": 1,
        "seed": 1,
        "dataloader_kwargs": {"shuffle": False},
        "temperature": 0.7,
    }
    return request(batch, names, settings, **tensors)


def rows_of(outputs):
    return {name: list(outputs[name].unbind()) for name in outputs.keys()}  # noqa: SIM118


def assert_token_outputs(outputs, oracle):
    expected = oracle["students"]["student"]["rows"]
    assert outputs.keys() <= fields.FIELDS.keys()
    outputs.pop("divergence", None)  # the reverse KL again, where a loss was asked for
    assert set(outputs) == set(expected[0])
    for name, values in outputs.items():
        torch.testing.assert_close(
            torch.cat(values).double(), torch.cat([row[name] for row in expected]), atol=ABSOLUTE, rtol=0
        )


def assert_update(metrics, oracle):
    expected = oracle["students"]["student"]
    norm = torch.stack([gradient.norm() for gradient in expected["gradients"]["vaopd"].values()]).norm().item()
    assert metrics["loss"] == pytest.approx([expected["loss"]["vaopd"]], rel=1e-5)
    assert metrics["grad_norm"] == pytest.approx([norm], rel=1e-5)


def test_colocated_teacher(worker, batch, oracle):
    scores = rows_of(worker.score(score_request(batch)))
    assert set(scores) == {"teacher_log_probs", "degraded_teacher_log_probs"}, "hidden states stay in the process"
    for name, values in scores.items():
        expected = torch.cat([row[name] for row in oracle["rows"]])
        torch.testing.assert_close(torch.cat(values).double(), expected, atol=ABSOLUTE, rtol=0)
    output = worker.update_actor(update_request(batch, token_weights=harness.weigh(batch, scores)))
    assert_update(output["metrics"], oracle)
    assert_token_outputs(rows_of(worker.token_outputs(None)), oracle)
    assert worker.student_engine.teacher_hidden_states is None, "they are the largest thing in memory"


def test_the_teacher_scores_in_eval_mode_without_a_graph(worker, batch, monkeypatch):
    teacher = worker.teacher.engine
    modes = []
    original = type(teacher).response_forward

    def spy(self, *args, **kwargs):
        modes.append((self.module.training, torch.is_grad_enabled()))
        return original(self, *args, **kwargs)

    monkeypatch.setattr(type(teacher), "response_forward", spy)
    teacher.module.train()
    scores = worker.teacher.score_rows(score_request(batch))
    assert modes == [(False, False)] * 2, "one micro-batch, two views"
    assert scores["teacher_hidden_states"].shape[2] == teacher.module.config.text_config.hidden_size
    assert all(value.grad_fn is None and not value.requires_grad for value in scores.values())
    assert scores["teacher_log_probs"].dtype == torch.float32


def test_forward_pass_without_a_step(worker, batch, oracle):
    worker.score(score_request(batch))
    assert_token_outputs(rows_of(worker.forward_tokens(request(batch, fields.FORWARD, {}))), oracle)


def test_rows_that_were_not_scored_last(worker, batch):
    scores = rows_of(worker.score(score_request(batch)))
    weights = harness.weigh(batch, scores)
    with pytest.raises(RuntimeError, match="not those that the teacher scored last"):
        worker.update_actor(update_request(batch[::-1], token_weights=weights[::-1]))


def test_teacher_with_a_pool_of_its_own(worker, batch, oracle, monkeypatch):
    """Hidden states come with the rows, on the CPU."""
    scores = rows_of(worker.teacher.score(score_request(batch)))
    hidden = scores.pop("teacher_hidden_states")
    monkeypatch.setattr(worker, "teacher", None)
    data = update_request(
        batch,
        (*UPDATE_FIELDS, fields.IMAGES, fields.TEACHER_HIDDEN_STATES),
        token_weights=harness.weigh(batch, scores),
        teacher_hidden_states=hidden,
    )
    assert fields.DEGRADED_INPUTS not in data
    assert_update(worker.update_actor(data)["metrics"], oracle)
    assert_token_outputs(rows_of(worker.token_outputs(None)), oracle)
