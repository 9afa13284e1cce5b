"""Every other loss than VA-OPD's through the real engine: divergences, policy loss, PAPO, self-distillation."""

import functools

import pytest
import torch
from verl.workers.utils.losses import ppo_loss

from tests.engine import harness
from tests.engine.harness import Batching
from verl_vaopd.algorithms import divergence as materialised
from verl_vaopd.algorithms.divergences import JS, K1, K2, NLL, ForwardKL, ReverseKL, TopKReverseKL
from verl_vaopd.config.objective import Objective
from verl_vaopd.engine.fields import PRIVILEGED_INPUTS
from verl_vaopd.engine.views import privileged_view
from verl_vaopd.teacher import moving_average

WHOLE = Batching(rows=8)
BATCHINGS = [Batching(rows=1), Batching(rows=4), Batching(tokens=300, packed=True)]
TOLERANCE = 1e-5
POLICY = Objective(reward_coef=1.0, policy_temperature=0.7)


@pytest.fixture(scope="module")
def policy_loss():
    return harness.policy_loss()


@pytest.fixture(scope="module")
def scores(teacher, batch):
    return harness.score(teacher, batch, WHOLE)


@pytest.fixture
def student(students, monkeypatch):
    """Its objective is put back afterwards."""
    engine = students["student"]
    monkeypatch.setattr(engine, "objective", engine.objective)
    return engine


@pytest.fixture(scope="module")
def advantages(batch):
    return harness.row_advantages(batch)


@pytest.fixture(scope="module")
def masked_batch(batch):
    return harness.with_masked_view(batch)


def assert_same(update, reference, tolerance=TOLERANCE):
    assert update.loss == pytest.approx(reference.loss, rel=tolerance, abs=1e-8)
    errors = harness.relative_errors(update.gradients, reference.gradients)
    assert max(errors.values()) < tolerance, sorted(errors.items(), key=lambda item: -item[1])[:5]


def capture_head_inputs(student, monkeypatch):
    """What the engine's own passes hand to response_forward."""
    seen = []
    original = student.response_forward

    def spy(hidden, head, token_ids, extra):
        seen.append((hidden.detach().clone(), head.detach().clone(), token_ids, dict(extra)))
        return original(hidden, head, token_ids, extra)

    monkeypatch.setattr(student, "response_forward", spy)
    return seen


@pytest.mark.parametrize(
    ("objective", "reference"),
    [
        (Objective(ForwardKL()), materialised.forward_kl),
        (Objective(ReverseKL(temperature=2.0)), functools.partial(materialised.reverse_kl, temperature=2.0)),
        (Objective(JS(js_beta=0.3)), functools.partial(materialised.js_divergence, beta=0.3)),
        (Objective(TopKReverseKL(top_k=5)), functools.partial(materialised.top_k_reverse_kl, k=5)),
    ],
)
def test_divergences_over_the_vocabulary(student, batch, scores, monkeypatch, objective, reference):
    student.objective = objective
    seen = capture_head_inputs(student, monkeypatch)
    weights = harness.weigh(batch, scores)
    update = harness.update(student, batch, scores["teacher_hidden_states"], weights, WHOLE)
    [(hidden, head, _, extra)] = seen
    logits = (hidden @ head.T, extra["teacher_hidden"] @ student.teacher_head.T)
    expected = reference(*logits, vocab_size=student.vocab_size)
    torch.testing.assert_close(torch.cat(update.token_outputs["divergence"]), expected, atol=2e-5, rtol=0)
    exact = materialised.reverse_kl(*logits, vocab_size=student.vocab_size)
    torch.testing.assert_close(torch.cat(update.token_outputs["reverse_kl"]), exact, atol=2e-5, rtol=0)
    assert update.loss == pytest.approx((torch.cat(weights) * expected).sum().item(), rel=1e-4)


def test_both_estimators_by_the_sampled_token_have_one_gradient(student, batch, scores):
    """k1 as policy gradient and k2: (log p_S - log p_T) grad log p_S; their values differ."""
    weights, updates = harness.weigh(batch, scores), {}
    for name, divergence in (("k1", K1()), ("k2", K2())):
        student.objective = Objective(divergence)
        updates[name] = harness.update(
            student,
            batch,
            scores["teacher_hidden_states"],
            weights,
            WHOLE,
            teacher_log_probs=scores["teacher_log_probs"],
        )
    errors = harness.relative_errors(updates["k1"].gradients, updates["k2"].gradients)
    assert max(errors.values()) < TOLERANCE
    log_ratio = torch.cat(updates["k1"].token_outputs["divergence"])
    student_log_probs = torch.cat(updates["k1"].token_outputs["student_log_probs"])
    torch.testing.assert_close(log_ratio, student_log_probs - torch.cat(scores["teacher_log_probs"]))
    torch.testing.assert_close(torch.cat(updates["k2"].token_outputs["divergence"]), log_ratio.square() / 2)


def test_estimators_at_a_temperature_compare_both_models_at_it(student, batch, scores, monkeypatch):
    """The teacher has scored at 1: its log-probs at the temperature come from its hidden states."""
    student.objective = Objective(K1(temperature=0.5))
    seen = capture_head_inputs(student, monkeypatch)
    update = harness.update(
        student,
        batch,
        scores["teacher_hidden_states"],
        harness.weigh(batch, scores),
        WHOLE,
        teacher_log_probs=scores["teacher_log_probs"],
    )
    [(hidden, head, token_ids, extra)] = seen
    student_log_probs, teacher_log_probs = (
        torch.log_softmax((states @ rows.T)[:, : student.vocab_size] / 0.5, dim=1).gather(1, token_ids[:, None])[:, 0]
        for states, rows in ((hidden, head), (extra["teacher_hidden"], student.teacher_head))
    )
    divergence = torch.cat(update.token_outputs["divergence"])
    torch.testing.assert_close(divergence, student_log_probs - teacher_log_probs, atol=2e-5, rtol=0)
    at_one = torch.log_softmax((hidden @ head.T)[:, : student.vocab_size], dim=1).gather(1, token_ids[:, None])[:, 0]
    torch.testing.assert_close(torch.cat(update.token_outputs["student_log_probs"]), at_one, atol=2e-5, rtol=0)


def test_clipping_cuts_value_and_gradient(student, batch, scores):
    weights, hidden = harness.weigh(batch, scores), scores["teacher_hidden_states"]
    free = harness.update(student, batch, hidden, weights, WHOLE)
    values = torch.cat(free.token_outputs["divergence"])
    limit = values.median().item()
    student.objective = Objective(ReverseKL(), token_clip=limit)
    cut = harness.update(student, batch, hidden, weights, WHOLE)
    torch.testing.assert_close(torch.cat(cut.token_outputs["divergence"]), values.clamp_max(limit))
    # The same gradient without clipping, from weights that leave the cut tokens out.
    student.objective = Objective(ReverseKL())
    kept = [
        torch.where(kl <= limit, weight, 0.0)
        for kl, weight in zip(free.token_outputs["divergence"], weights, strict=True)
    ]
    errors = harness.relative_errors(cut.gradients, harness.update(student, batch, hidden, kept, WHOLE).gradients)
    assert max(errors.values()) < 1e-4


def test_a_policy_gradient_is_a_weighted_log_likelihood(student, batch, policy_loss, advantages):
    """verl's loss with old policy = policy: value -mean(A), gradient -mean(A grad log p), here at temperature 1."""
    num_tokens = sum(len(row) for row in advantages)
    student.objective = Objective(reward_coef=1.0)
    policy = harness.update(student, batch, None, None, WHOLE, policy_loss, advantages=advantages)
    assert policy.loss == pytest.approx(-torch.cat(advantages).mean().item(), rel=1e-6)
    student.objective = Objective(NLL())
    weights = [row / num_tokens for row in advantages]
    likelihood = harness.update(student, batch, None, weights, WHOLE)
    errors = harness.relative_errors(policy.gradients, likelihood.gradients)
    assert max(errors.values()) < TOLERANCE
    nll = -torch.cat(likelihood.token_outputs["student_log_probs"])
    torch.testing.assert_close(torch.cat(likelihood.token_outputs["divergence"]), nll)


def test_the_policy_is_taken_at_the_sampling_temperature(student, batch, policy_loss, advantages, monkeypatch):
    student.objective = POLICY
    seen = capture_head_inputs(student, monkeypatch)
    update = harness.update(student, batch, None, None, WHOLE, policy_loss, advantages=advantages)
    [(hidden, head, token_ids, _)] = seen
    logits = (hidden @ head.T)[:, : student.vocab_size]
    for temperature, name in ((0.7, "policy_log_probs"), (1.0, "student_log_probs")):
        expected = torch.log_softmax(logits / temperature, dim=-1).gather(1, token_ids[:, None]).squeeze(1)
        torch.testing.assert_close(torch.cat(update.token_outputs[name]), expected, atol=2e-5, rtol=0)


def test_a_kl_to_the_initial_policy(student, batch, policy_loss, advantages):
    """verl adds kl_loss_coef * k3 where the configuration says so; here the reference is off by a constant."""
    student.objective = POLICY
    plain = harness.update(student, batch, None, None, WHOLE, policy_loss, advantages=advantages)
    config = policy_loss.keywords["config"]
    with_kl = functools.partial(
        ppo_loss, config=type(config)(**{**vars(config), "use_kl_loss": True, "kl_loss_coef": 0.5})
    )
    student.objective = Objective(reward_coef=1.0, policy_temperature=0.7, use_reference=True)
    reference = [row - 0.3 for row in plain.token_outputs["policy_log_probs"]]
    update = harness.update(student, batch, None, None, WHOLE, with_kl, advantages=advantages, ref_log_prob=reference)
    k3 = torch.tensor(-0.3).exp() + 0.3 - 1
    assert update.loss == pytest.approx(plain.loss + 0.5 * k3.item(), rel=1e-4)


@pytest.mark.parametrize("batching", BATCHINGS, ids=str)
def test_rewards_are_the_same_under_any_batching(student, masked_batch, policy_loss, advantages, batching):
    student.objective = Objective(reward_coef=1.0, policy_temperature=0.7, perception_coef=0.02, entropy_coef=0.05)
    reference = harness.update(student, masked_batch, None, None, WHOLE, policy_loss, advantages=advantages)
    update = harness.update(student, masked_batch, None, None, batching, policy_loss, advantages=advantages)
    assert_same(update, reference)


def test_rewards_mix_into_distillation(student, batch, scores, policy_loss, advantages):
    weights, hidden = harness.weigh(batch, scores), scores["teacher_hidden_states"]
    run = functools.partial(harness.update, student, batch, batching=WHOLE, policy_loss=policy_loss)
    student.objective = Objective(ReverseKL(), reward_coef=0.25)
    mixed = run(hidden=hidden, weights=weights, advantages=advantages)
    student.objective = Objective(ReverseKL())
    distilled = run(hidden=hidden, weights=weights)
    student.objective = Objective(reward_coef=1.0)
    rewarded = run(hidden=None, weights=None, advantages=advantages)
    assert mixed.loss == pytest.approx(distilled.loss + 0.25 * rewarded.loss, rel=TOLERANCE)
    expected = {name: value + 0.25 * rewarded.gradients[name] for name, value in distilled.gradients.items()}
    assert max(harness.relative_errors(mixed.gradients, expected).values()) < TOLERANCE


def papo(student, masked_batch, policy_loss, advantages, **settings):
    student.objective = Objective(reward_coef=1.0, **settings)
    return harness.update(student, masked_batch, None, None, WHOLE, policy_loss, advantages=advantages)


def test_perception_terms_by_hand(student, masked_batch, policy_loss, advantages, monkeypatch):
    """Mean over tokens of -gamma K + eta (-log p) + eta (-log p_mask), from both passes' own log-probs."""
    seen = capture_head_inputs(student, monkeypatch)
    update = papo(student, masked_batch, policy_loss, advantages, perception_coef=0.5, entropy_coef=0.25)
    masked, clean = (
        torch.log_softmax((hidden @ head.T)[:, : student.vocab_size].double(), -1).gather(1, ids[:, None])[:, 0]
        for hidden, head, ids, _ in seen
    )
    d = masked - clean
    kl = (d.exp() - d - 1).clamp_max(10)
    grpo = -torch.cat(advantages).mean().item()
    assert kl.max() > 1e-3, "otherwise the two views are one"
    assert update.loss == pytest.approx(grpo + (-0.5 * kl - 0.25 * clean - 0.25 * masked).mean().item(), rel=1e-4)


def test_no_perception_term_is_grpo(student, batch, masked_batch, policy_loss, advantages):
    student.objective = Objective(reward_coef=1.0)
    grpo = harness.update(student, batch, None, None, WHOLE, policy_loss, advantages=advantages)
    off = papo(student, masked_batch, policy_loss, advantages, perception_coef=0.0)
    assert off.loss == grpo.loss
    assert all(torch.equal(off.gradients[name], value) for name, value in grpo.gradients.items())


def test_gradient_through_the_masked_view_is_a_switch(student, masked_batch, policy_loss, advantages):
    """Its entropy term is a log-likelihood on the masked image: off, it has no gradient."""
    settings = {"perception_coef": 0.02, "entropy_coef": 0.5}
    off = papo(student, masked_batch, policy_loss, advantages, **settings)
    on = papo(student, masked_batch, policy_loss, advantages, masked_gradient=True, **settings)
    assert on.loss == pytest.approx(off.loss, rel=TOLERANCE)
    assert max(harness.relative_errors(on.gradients, off.gradients).values()) > 0.1


def test_two_ranks(two_ranks, student, masked_batch, policy_loss, advantages):
    """Siblings on both ranks, and two passes with gradient through sharded parameters before one backward."""
    student.objective = harness.PAPO
    reference = harness.update(student, masked_batch, None, None, WHOLE, policy_loss, advantages=advantages)
    assert_same(two_ranks["papo"], reference)


def test_self_distillation_without_privilege_has_nothing_to_teach(student, workspace, batch, students):
    """The teacher is the student and reads the same prompt: KL 0."""
    teacher = harness.build_teacher(workspace / "student")
    privileged = [
        {**row, PRIVILEGED_INPUTS: {name: row[name] for name in ("input_ids", "position_ids")}} for row in batch
    ]
    data = privileged_view(harness.pack(privileged))
    for name in ("input_ids", "position_ids"):
        for row, expected in zip(data[name].unbind(), batch, strict=True):
            assert torch.equal(row, expected[name])
    scores = harness.score(teacher, batch, WHOLE)
    head = student.teacher_head
    try:
        student.teacher_head = moving_average.full_head(teacher.module)
        weights = harness.weigh(batch, scores)
        update = harness.update(student, batch, scores["teacher_hidden_states"], weights, WHOLE)
    finally:
        student.teacher_head = head
    assert torch.cat(update.token_outputs["reverse_kl"]).max() < 1e-5


def test_a_reference_solution_changes_what_the_teacher_says(teacher, batch):
    """The response is found behind the longer prompt; a padding row keeps its own."""
    row = next(row for row in batch if row["uid"] == "text")
    hint = torch.arange(10, 30)
    num_prompt = len(row["input_ids"]) - len(row["response_mask"])
    input_ids = torch.cat([row["input_ids"][:num_prompt], hint, row["input_ids"][num_prompt:]])
    positions = torch.arange(len(input_ids)).expand(4, -1)
    privileged = {"input_ids": input_ids, "position_ids": positions}
    padding = harness.padding_row(row) | {PRIVILEGED_INPUTS: privileged}
    batch_of_two = [{**row, PRIVILEGED_INPUTS: privileged}, padding]
    view = privileged_view(harness.pack(batch_of_two))
    assert torch.equal(view["input_ids"].unbind()[0], input_ids)
    assert torch.equal(view["input_ids"].unbind()[1], padding["input_ids"])
    direct = {**row, **privileged}
    [expected] = harness.score(teacher, [direct], BATCHINGS[0])["teacher_log_probs"]
    [plain] = harness.score(teacher, [row], BATCHINGS[0])["teacher_log_probs"]
    assert expected.shape == plain.shape
    assert (expected - plain).abs().max() > 1e-3


def test_moving_average(student, workspace, tmp_path):
    teacher = harness.build_teacher(workspace / "student")
    start = {name: value.detach().full_tensor().clone() for name, value in teacher.module.named_parameters()}
    with torch.no_grad():
        for value in student.module.parameters():
            value.add_(1.0)
    try:
        moving_average.update(teacher.module, student.module, decay=0.75)
        moving_average.save(teacher.module, str(tmp_path), rank=0, world_size=1)
        for name, value in teacher.module.named_parameters():
            torch.testing.assert_close(value.detach().full_tensor(), start[name] + 0.25)
            with torch.no_grad():
                value.zero_()
        moving_average.load(teacher.module, str(tmp_path), rank=0, world_size=1)
        for name, value in teacher.module.named_parameters():
            torch.testing.assert_close(value.detach().full_tensor(), start[name] + 0.25)
        embedding = dict(teacher.module.named_parameters())["model.language_model.embed_tokens.weight"]
        torch.testing.assert_close(moving_average.full_head(teacher.module), embedding.detach().full_tensor())
        with pytest.raises(ValueError, match="resume on as many GPUs"):
            moving_average.load(teacher.module, str(tmp_path), rank=0, world_size=2)
    finally:
        with torch.no_grad():
            for value in student.module.parameters():
                value.sub_(1.0)
