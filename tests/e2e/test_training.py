"""What real runs leave behind, checked against the equations and against plain transformers."""

from __future__ import annotations

import io
import json
import math
from collections import defaultdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tests.conftest import TRAINING
from tests.e2e.conftest import NUM_PROMPTS, NUM_SIBLINGS, STUDENT, Run
from tests.e2e.wide_head import require_only_tokens
from verl_vaopd.config.preflight import RUNNING
from verl_vaopd.platform import activate
from verl_vaopd.runs import events, metric_names
from verl_vaopd.runs.validation_samples import read_samples

TRAINED = ("vaopd", "opd", "greedy")

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group(TRAINING), pytest.mark.timeout(1800)]


@pytest.mark.parametrize("name", TRAINED)
def test_losses_and_gradients_are_finite(runs: dict[str, Run], name: str) -> None:
    steps = runs[name].steps
    assert [event["step"] for event in steps] == list(range(1, steps[-1]["total"] + 1))
    for event in steps:
        assert math.isfinite(event["metrics"]["vaopd/loss"]) and event["metrics"]["vaopd/loss"] > 0
        assert math.isfinite(event["metrics"]["actor/grad_norm"]) and event["metrics"]["actor/grad_norm"] > 0


def test_every_step_reports_every_metric(runs: dict[str, Run]) -> None:
    """Speed of every phase and memory included; none but those of rewards and of PAPO is left out."""
    of_rewards = {name for name in metric_names.METRICS if name.startswith("perf/advantage/")}
    of_rewards |= {"actor/pg_loss", "actor/pg_clipfrac", "actor/kl_loss", "actor/perception_kl"}
    names = metric_names.METRICS.keys() - of_rewards
    for event in runs["vaopd"].steps:
        assert set(event["metrics"]) == names
        assert event["metrics"]["vaopd/num_rollouts"] == NUM_PROMPTS * NUM_SIBLINGS
    for event in runs["opd"].steps:
        # Standard OPD does not score the degraded view, and claims nothing about it.
        of_views = metric_names.VISUAL_ADVANTAGE_METRICS.keys() | metric_names.FORMAT_METRICS.keys()
        assert set(event["metrics"]) == names - of_views


@pytest.mark.parametrize("name", ["vaopd", "opd"])
def test_token_weights_of_a_prompt_sum_to_its_share(runs: dict[str, Run], name: str) -> None:
    """Eq. 6: per prompt the weights sum to 1/B."""
    sums: dict[tuple[int, str], float] = defaultdict(float)
    for row in runs[name].dump("train").to_pylist():
        sums[row["step"], row["uid"]] += sum(row["token_weights"])
    assert len(sums) == NUM_PROMPTS * len(runs[name].steps)
    for total in sums.values():
        assert total == pytest.approx(1 / NUM_PROMPTS, rel=1e-5)


def test_loss_is_the_weighted_sum_of_the_dumped_divergences(runs: dict[str, Run]) -> None:
    """The dump holds all rollouts of a step: the loss of the distributed update is recomputed from it."""
    losses: dict[int, float] = defaultdict(float)
    for row in runs["vaopd"].dump("train").to_pylist():
        losses[row["step"]] += sum(w * kl for w, kl in zip(row["token_weights"], row["reverse_kl"], strict=True))
    for event in runs["vaopd"].steps:
        assert losses[event["step"]] == pytest.approx(event["metrics"]["vaopd/loss"], rel=1e-5)


def test_standard_opd_weighs_all_tokens_of_a_rollout_alike(runs: dict[str, Run]) -> None:
    for row in runs["opd"].dump("train").to_pylist():
        expected = 1 / (NUM_PROMPTS * NUM_SIBLINGS * len(row["token_ids"]))
        assert row["token_weights"] == pytest.approx([expected] * len(row["token_ids"]), rel=1e-5)
        assert row["visual_advantage"] is None


def test_validation_and_best_checkpoint(runs: dict[str, Run]) -> None:
    run = runs["vaopd"]
    validations = run.validations
    assert [event["step"] for event in validations] == [0, 2, 4]
    for event in validations:
        assert event["n_samples"] == 16 and event["n_missing"] == 0
        assert event["accuracy_low"] <= event["accuracy"] <= event["accuracy_high"]
    best = max(validations[1:], key=lambda event: event["accuracy"])["step"]
    assert (run.path / "checkpoints" / "best").resolve().name == f"global_step_{best}"
    assert runs["opd"].validations[-1]["mean_va"] > 0  # scored on held-out questions whatever the method


def test_a_validation_in_batches_is_as_one(runs: dict[str, Run]) -> None:
    """Two runs ask the same student greedily: eight questions at once, and in batches of three."""
    whole, parts = (read_samples(runs[name].path, 0).to_pylist() for name in ("greedy", "opd"))
    close = ("mean_va", "entropy")
    assert [{k: v for k, v in row.items() if k not in close} for row in parts] == [
        {k: v for k, v in row.items() if k not in close} for row in whole
    ]
    assert [row["mean_va"] for row in parts] == pytest.approx([row["mean_va"] for row in whole], abs=1e-5)
    for name in ("accuracy", "accuracy_low", "mean_va", "mean_va_high"):
        assert runs["opd"].validations[0][name] == pytest.approx(runs["greedy"].validations[0][name], abs=1e-5)
    columns = ("question_id", "rollout_index", "token_ids")
    dumped = [
        [tuple(row[c] for c in columns) for row in runs[name].dump("heldout").to_pylist() if row["step"] == 0]
        for name in ("greedy", "opd")
    ]
    assert dumped[0] == dumped[1] and len(dumped[0]) == 6


def test_rollouts_hold_only_tokens(runs: dict[str, Run]) -> None:
    rows = [row for split in ("train", "heldout") for row in runs["opd"].dump(split).to_pylist()]
    require_only_tokens({token_id for row in rows for token_id in row["token_ids"]}, STUDENT)


def test_memory_of_every_validation_and_step(runs: dict[str, Run]) -> None:
    of_validations = [event["metrics"] for event in runs["vaopd"].validations]
    assert all(metrics.keys() == metric_names.VALIDATION_METRICS.keys() for metrics in of_validations)
    of_steps = [event["metrics"] for event in runs["vaopd"].steps]
    for phase, found in (("validation", of_validations), ("step", of_steps)):
        for metrics in found:
            got = {kind: metrics[f"perf/{phase}/{kind}_memory_gb"] for kind in metric_names.MEMORY}
            # Every process has imported torch; student, teacher and vLLM are the workers.
            assert got["queue"] > 0.1 and 0.1 < got["driver"] < got["worker"] < got["total"] < 64


def preflight_of(run: Run) -> dict[str, dict[str, str]]:
    """{when: {check: outcome}}"""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for event in events.read(run.path / events.FILE_NAME):
        if event["kind"] == "preflight":
            found[event["when"]][event["check"]] = event["outcome"]
    return found


@pytest.mark.parametrize("name", TRAINED)
def test_every_run_has_passed_its_checks(runs: dict[str, Run], name: str) -> None:
    found = preflight_of(runs[name])
    assert found.pop("before the first step") == dict.fromkeys(RUNNING, "passed")
    repeated = ("teacher_alive", "equal_views", "teacher_repeats")
    assert found.pop("after the first update") == dict.fromkeys(repeated, "passed")
    assert found.pop("step 1") == {"log_prob_gap": "passed", "responses_end": "passed"}
    assert found.pop("step 2") == {"log_prob_gap": "passed"}
    assert not found


def test_a_check_that_fails_ends_a_run_and_nothing_else(runs: dict[str, Run]) -> None:
    """What it was, in one error; the waiver of the next run is on record, and that run makes no step."""
    stopped, checked = runs["stopped"], runs["checked"]
    assert preflight_of(stopped)["before the first step"]["log_prob_gap"] == "failed"
    last = events.read(stopped.path / events.FILE_NAME)[-1]
    assert last["kind"] == "failed"
    assert last["text"].startswith("preflight, before the first step: log_prob_gap: rollout engine and trainer differ")
    assert last["text"].endswith("preflight.waive=[log_prob_gap] goes on in spite of it")
    waived = dict.fromkeys(RUNNING, "passed") | {"log_prob_gap": "waived"}
    assert preflight_of(checked)["before the first step"] == waived
    assert json.loads((checked.path / "finished.json").read_text())["ended_by"] == "checks only"
    for run in (stopped, checked):
        assert not run.steps and not run.validations and not (run.path / "checkpoints").exists()


def test_every_run_directory_says_what_ran(runs: dict[str, Run]) -> None:
    for run in (runs[name] for name in TRAINED):
        for name in ("config.yaml", "versions.json", "overrides.txt", "finished.json", "events.jsonl"):
            assert (run.path / name).stat().st_size > 0, name
        assert list((run.path / "tensorboard").glob("events*"))


def _questions(run: Run) -> dict[str, dict]:
    rows = pq.read_table(Path(run.config.dataset.root) / "validation.parquet").to_pylist()
    return {str(row["extra_info"]["index"]): row for row in rows}


def _response_log_probs(model, processor, question: dict, image: Image.Image, response: list[int]) -> torch.Tensor:
    """[T] log-probs of the response at temperature 1, by plain transformers."""
    text = question["prompt"][0]["content"].replace("<image>", "")
    message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]
    prompt = processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
    inputs = processor(text=[prompt], images=[image], return_tensors="pt")
    ids = torch.cat([inputs["input_ids"], torch.tensor([response])], dim=1)
    with torch.no_grad():
        logits = model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_token_type_ids=(ids == model.config.image_token_id).int(),
            pixel_values=inputs["pixel_values"],
            image_grid_thw=inputs["image_grid_thw"],
        ).logits
    log_probs = logits[0, -len(response) - 1 : -1].double().log_softmax(-1)
    return log_probs.gather(1, torch.tensor(response)[:, None]).flatten()


def _load(path: str | Path):
    activate()
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32).eval()
    return model, AutoProcessor.from_pretrained(path)


def _pixelated(image: Image.Image) -> Image.Image:
    small = image.resize((image.width // 10, image.height // 10), Image.Resampling.BILINEAR)
    return small.resize(image.size, Image.Resampling.NEAREST)


def test_dumped_visual_advantage_is_that_of_the_models(runs: dict[str, Run]) -> None:
    """Eq. 2, recomputed from the teacher's checkpoint and the data set's images alone."""
    run = runs["vaopd"]
    questions = _questions(run)
    teacher, processor = _load(run.config.teacher.path)
    rows = run.dump("heldout").to_pylist()
    assert {row["step"] for row in rows} == {0, 2, 4}
    for row in rows[:8]:
        question = questions[row["question_id"]]
        image = Image.open(io.BytesIO(question["images"][0]["bytes"])).convert("RGB")
        clean = _response_log_probs(teacher, processor, question, image, row["token_ids"])
        degraded = _response_log_probs(teacher, processor, question, _pixelated(image), row["token_ids"])
        assert torch.allclose(torch.tensor(row["teacher_log_probs"]).double(), clean, atol=1e-4)
        assert torch.allclose(
            torch.tensor(row["visual_advantage"]).double(), (clean - degraded).clamp_min(0), atol=2e-4
        )


def test_vllm_samples_from_the_trained_weights(runs: dict[str, Run], work_dir: Path) -> None:
    """vLLM's log-probs of the last validation are those of the exported checkpoint, and not those of the start."""
    from verl_vaopd.runs.export import export

    run = runs["vaopd"]
    exported = export(run.path, checkpoint="last", out=work_dir / "exported", dtype="float32")
    trained, processor = _load(exported)
    start, _ = _load(run.config.student.path)
    questions = _questions(run)
    gaps: dict[str, list[float]] = {"trained": [], "start": []}
    for row in [row for row in run.dump("heldout").to_pylist() if row["step"] == 4][:4]:
        question = questions[row["question_id"]]
        image = Image.open(io.BytesIO(question["images"][0]["bytes"])).convert("RGB")
        sampled = torch.tensor(row["rollout_log_probs"]).double()
        for name, model in (("trained", trained), ("start", start)):
            expected = _response_log_probs(model, processor, question, image, row["token_ids"])
            gaps[name].append((sampled - expected).abs().mean().item())
    assert max(gaps["trained"]) < 1e-3
    assert min(gaps["start"]) > 10 * max(gaps["trained"])
    for event in run.steps:
        assert event["metrics"]["vaopd/log_prob_gap/mean_abs"] < 1e-3
