"""One training step gives the same loss and gradients however its rows are batched, ordered and spread over ranks.

The whole step: the teacher scores both views, tokens are weighed, the student is updated. Same means 1e-5 relative in
float32: |loss - reference| / |reference|, and for every parameter the Euclidean norm of the difference of gradients
over that of the reference gradient.
"""

import statistics
from collections import defaultdict

import pytest
import torch

from tests.engine import harness
from tests.engine import two_ranks as two_ranks_process
from tests.engine.harness import Batching

TOLERANCE = 1e-5
BATCHINGS = [
    Batching(rows=size, tokens=budget, packed=packed)
    for packed in (False, True)
    for size, budget in ((1, None), (2, None), (4, None), (8, None), (None, 120), (None, 300))
]


@pytest.fixture(scope="module")
def references(teacher, students, batch):
    """By student: rows one by one, padded."""
    return {name: harness.step(teacher, student, batch, Batching(rows=1)) for name, student in students.items()}


@pytest.mark.parametrize("prompts", ["prompts.json", "equal_lengths.json"])
def test_rounding_is_not_magnified(teacher, workspace, prompts):
    """If this fails, so will the others, and only the rollouts are to blame: see harness.save_models."""
    rollouts = harness.load_rows(workspace, prompts)
    scores = harness.score(teacher, rollouts, Batching(rows=1))
    means = defaultdict(list)
    for row, clean, degraded in zip(
        rollouts, scores["teacher_log_probs"], scores["degraded_teacher_log_probs"], strict=True
    ):
        means[row["uid"]].append((clean - degraded).clamp_min(0).mean().item())
    spread = {uid: statistics.pstdev(values) for uid, values in means.items() if len(values) > 1 and uid != "text"}
    assert spread and min(spread.values()) > 0.03, spread


def assert_same(update, reference):
    assert update.loss == pytest.approx(reference.loss, rel=TOLERANCE)
    errors = harness.relative_errors(update.gradients, reference.gradients)
    assert max(errors.values()) < TOLERANCE, sorted(errors.items(), key=lambda item: -item[1])[:5]
    for name, values in update.token_outputs.items():
        torch.testing.assert_close(torch.cat(values), torch.cat(reference.token_outputs[name]), atol=2e-5, rtol=0)


@pytest.mark.parametrize("batching", BATCHINGS, ids=str)
def test_micro_batches(teacher, students, batch, references, batching):
    assert_same(harness.step(teacher, students["student"], batch, batching), references["student"])


@pytest.mark.parametrize("batching", [Batching(rows=2), Batching(tokens=300, packed=True)], ids=str)
@pytest.mark.parametrize("order", [[7, 6, 5, 4, 3, 2, 1, 0], [5, 0, 3, 7, 1, 6, 4, 2]])
def test_permuted_rows(teacher, students, batch, references, batching, order):
    update = harness.step(teacher, students["student"], [batch[row] for row in order], batching)
    for name, values in update.token_outputs.items():
        update.token_outputs[name] = [values[order.index(row)] for row in range(len(batch))]
    assert_same(update, references["student"])


def test_untied_head(teacher, students, batch, references):
    assert_same(
        harness.step(teacher, students["untied_student"], batch, Batching(rows=4)), references["untied_student"]
    )


def test_gradient_checkpointing(teacher, workspace, batch, references):
    student = harness.build_student(workspace / "student", workspace / "teacher", enable_gradient_checkpointing=True)
    assert_same(harness.step(teacher, student, batch, Batching(rows=4)), references["student"])


@pytest.mark.parametrize("case", two_ranks_process.CASES)
def test_two_ranks(two_ranks, references, case):
    student = two_ranks_process.CASES[case][0]
    assert_same(two_ranks[case], references[student])


@pytest.mark.parametrize("batching", [Batching(rows=1), Batching(rows=4), Batching(rows=2, packed=True)], ids=str)
def test_rows_of_one_length(teacher, students, workspace, batching):
    """The queue packs them with position ids jagged along the wrong axis. The reference is spared that by a padding
    row, which has another length."""
    equal = harness.load_rows(workspace, "equal_lengths.json")
    padded = [*equal, harness.padding_row(equal[0])]
    assert harness.pack(equal)["position_ids"]._ragged_idx == 1
    assert harness.pack(padded)["position_ids"]._ragged_idx == 2
    scores = harness.score(teacher, padded, Batching(rows=1))
    weights = harness.weigh(equal, {key: values[:4] for key, values in scores.items()})
    reference = harness.update(
        students["student"], padded, scores["teacher_hidden_states"], [*weights, torch.zeros(1)], Batching(rows=1)
    )
    reference.token_outputs = {key: values[:4] for key, values in reference.token_outputs.items()}
    # Scores and update are compared one after the other: the z-score over siblings whose VA hardly differs would
    # magnify the rounding of the scores.
    for key, values in harness.score(teacher, equal, batching).items():
        torch.testing.assert_close(torch.cat(values), torch.cat(scores[key][:4]), atol=2e-5, rtol=0)
    hidden = scores["teacher_hidden_states"][:4]
    assert_same(harness.update(students["student"], equal, hidden, weights, batching), reference)


@pytest.mark.parametrize("batching", [Batching(rows=2), Batching(rows=2, packed=True)], ids=str)
def test_a_batch_without_any_image(teacher, students, batch, batching):
    text = batch[5:7]
    scores = harness.score(teacher, batch, Batching(rows=1))
    weights = [torch.zeros(len(row["response_mask"])) for row in batch]
    weights[5:7] = harness.weigh(text, {key: values[5:7] for key, values in scores.items()})
    reference = harness.update(students["student"], batch, scores["teacher_hidden_states"], weights, Batching(rows=1))
    reference.token_outputs = {key: values[5:7] for key, values in reference.token_outputs.items()}
    update = harness.step(teacher, students["student"], text, batching)
    vision = [name for name in reference.gradients if ".visual." in name]
    for gradients in (update.gradients, reference.gradients):
        assert all(gradients.pop(name).norm() == 0 for name in vision)
    assert_same(update, reference)
