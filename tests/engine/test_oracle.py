"""The engines against oracle.py: the equations in plain transformers, on the same models and images."""

import pytest
import torch

from tests.engine import harness
from tests.engine.harness import Batching
from verl_vaopd.algorithms.visual_advantage import visual_advantage

MODES = [Batching(rows=4), Batching(rows=4, packed=True)]
METHODS = {"vaopd": {}, "opd": {"rollout_weighting": False, "token_grouping": False}}

# float32 against float32 by other kernels in another order; measured 2e-6 to 5e-6.
ABSOLUTE = 2e-5
"""Log-probs, entropies and KL in nats; hidden states of norm 1 per element."""
RELATIVE = 1e-5
"""Loss, and gradient of every parameter: norm of the difference over norm."""


@pytest.fixture(scope="module", params=MODES, ids=str)
def batching(request):
    return request.param


@pytest.fixture(scope="module")
def scores(teacher, batch, batching):
    return harness.score(teacher, batch, batching)


def assert_rows_close(actual, expected):
    torch.testing.assert_close(torch.cat(actual).double(), torch.cat(expected).double(), atol=ABSOLUTE, rtol=0)


def assert_same_step(update, expected, method):
    assert update.loss == pytest.approx(expected["loss"][method], rel=RELATIVE)
    errors = harness.relative_errors(update.gradients, expected["gradients"][method])
    assert max(errors.values()) < RELATIVE, sorted(errors.items(), key=lambda item: -item[1])[:5]


def test_both_read_the_same_tokens(batch, oracle):
    for row, expected in zip(batch, oracle["rows"], strict=True):
        assert row["input_ids"].tolist() == expected["input_ids"].tolist()


@pytest.mark.parametrize("name", ["teacher_log_probs", "degraded_teacher_log_probs", "teacher_hidden_states"])
def test_teacher_scores(scores, oracle, name):
    assert_rows_close(scores[name], [row[name] for row in oracle["rows"]])


def test_the_degraded_view_matters(oracle):
    """Otherwise the comparisons above would not notice swapped or repeated views."""
    gaps = [(row["teacher_log_probs"] - row["degraded_teacher_log_probs"]).abs().max() for row in oracle["rows"]]
    assert [gap > 1e3 * ABSOLUTE for gap in gaps] == [True] * 5 + [False] * 2 + [True]


def test_visual_advantage(scores, oracle):
    for row, expected in enumerate(oracle["rows"]):
        clean, degraded = scores["teacher_log_probs"][row], scores["degraded_teacher_log_probs"][row]
        actual = visual_advantage(clean[None], degraded[None], torch.ones(1, len(clean)))[0]
        assert actual.tolist() == pytest.approx(expected["visual_advantage"], abs=2 * ABSOLUTE)


def test_a_prompt_without_image_has_no_visual_advantage(scores):
    """Exactly none: rounding noise between two passes would decide the weights of its rollouts."""
    for row in (5, 6):
        assert torch.equal(scores["teacher_log_probs"][row], scores["degraded_teacher_log_probs"][row])


def test_rollout_weights(scores, batch, oracle):
    weights = harness.weigh(batch, scores)
    num_prompts = 4
    actual = [num_prompts * row.sum().item() for row in weights]
    assert actual == pytest.approx([row["rollout_weight"] for row in oracle["rows"]], rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", harness.STUDENTS)
def test_loss_gradients_and_token_outputs(students, scores, batch, batching, oracle, name, method):
    weights = harness.weigh(batch, scores, **METHODS[method])
    update = harness.update(students[name], batch, scores["teacher_hidden_states"], weights, batching)
    expected = oracle["students"][name]
    assert all(gradient.norm() > 0 for gradient in expected["gradients"][method].values())
    assert_same_step(update, expected, method)
    assert_rows_close(update.token_outputs.pop("divergence"), [row["reverse_kl"] for row in expected["rows"]])
    assert update.token_outputs.keys() == expected["rows"][0].keys()
    for key, values in update.token_outputs.items():
        assert_rows_close(values, [row[key] for row in expected["rows"]])


@pytest.mark.parametrize("rows", [1, 2, 10])
def test_padding_rows_change_nothing(teacher, students, batch, batching, oracle, rows):
    """verl's synthetic rows, wherever balancing puts them: first, and between two rows with images."""
    padding = harness.padding_row(batch[0])
    assert padding["multi_modal_inputs"] == {} and padding["degraded_multi_modal_inputs"] != {}
    padded = [padding, *batch[:4], padding, *batch[4:]]
    batching = Batching(rows=rows, packed=batching.packed)
    scores = harness.score(teacher, padded, batching)
    real = {key: [*values[1:5], *values[6:]] for key, values in scores.items()}
    weights = harness.weigh(batch, real)
    zero = torch.zeros(1)
    weights = [zero, *weights[:4], zero, *weights[4:]]
    update = harness.update(students["student"], padded, scores["teacher_hidden_states"], weights, batching)
    assert_same_step(update, oracle["students"]["student"], "vaopd")
