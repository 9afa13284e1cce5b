"""The whole path on real inputs, and what it read compared, call by call, with transformers on the published files.

Expected values come from the published files, the models' own code and processor, and from nothing of the product but
its commands. The models are of Qwen3-VL's shape, with random weights: nothing here is about accuracy.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tests.conftest import REAL_FILES, TRAINING
from tests.real_path.models import IMAGE, NUM_HEAD_ROWS, NUM_TOKENS, VIDEO
from tests.real_path.recorded_eval import FILE, digests
from tests.real_path.recording import FOLDER
from verl_vaopd.data.scoring import compute_score
from verl_vaopd.platform import activate
from verl_vaopd.runs.token_dump import read_dumps

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.xdist_group(TRAINING), pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[2]
FINISHED = "VAOPD_DEMO_REAL"
"""Names the directory of a finished `launch/demo_real.sh`: what `make demo-real` compares, instead of a smaller one."""
MIN_PIXELS, MAX_PIXELS = 262_144, 4_194_304  # the paper's release
PROBLEMS = [str(number) for number in range(11, 21)]
SUFFIX = " Please reason step by step, and put your final answer within \\boxed{}."
USER, ASSISTANT = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"
PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
TOLERANCE = 2e-4  # nats; float32 against float64 over 151,669 columns


def resized(file: Path) -> Image.Image:
    """A published image on white, at the size that the paper's release gives to Qwen's processor."""
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    image = Image.open(file).convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    height, width = smart_resize(white.height, white.width, 32, MIN_PIXELS, MAX_PIXELS)
    return white.resize((width, height), Image.Resampling.BICUBIC)


def pixelated(image: Image.Image) -> Image.Image:
    """Sec. 2.1: each side a tenth, and enlarged again."""
    small = image.resize((image.width // 10, image.height // 10), Image.Resampling.BILINEAR)
    return small.resize(image.size, Image.Resampling.NEAREST)


@dataclass
class Problem:
    """A published problem of Geometry3K."""

    folder: Path

    @cached_property
    def facts(self) -> dict[str, Any]:
        return json.loads((self.folder / "data.json").read_text())

    @property
    def text(self) -> str:
        return f"{USER}{PICTURE}{self.facts['annotat_text']}{SUFFIX}{ASSISTANT}"

    @property
    def answer(self) -> str:
        return self.facts["choices"]["ABCD".index(self.facts["answer"])]

    @cached_property
    def image(self) -> Image.Image:
        return resized(self.folder / "img_diagram.png")


@pytest.fixture(scope="module")
def out(real_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished demonstration, of four of We-Math's questions if it is made here."""
    activate()
    if FINISHED in os.environ:
        return Path(os.environ[FINISHED])
    made = tmp_path_factory.mktemp("real") / "out"
    command = ["bash", str(ROOT / "launch" / "demo_real.sh"), str(made), "limit=4"]
    environment = {**os.environ, REAL_FILES: str(real_files)}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1100)
    assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-5000:]
    return made


@pytest.fixture(scope="module")
def processor(out: Path) -> Any:
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(out / "models" / "student")


@pytest.fixture(scope="module")
def problems(real_files: Path) -> dict[str, Problem]:
    return {number: Problem(real_files / "geometry3k" / number) for number in PROBLEMS}


@pytest.fixture(scope="module")
def rollouts(out: Path) -> list[dict[str, Any]]:
    """Every rollout of the run as it went into the queue."""
    files = sorted((out / "runs" / "real" / FOLDER).glob("*.pt"))
    return [torch.load(file, weights_only=False) | {"file": file.name} for file in files]


@pytest.fixture(scope="module")
def models(out: Path) -> dict[str, Any]:
    from transformers import AutoModelForImageTextToText

    load = AutoModelForImageTextToText.from_pretrained
    return {name: load(out / "models" / name, dtype=torch.float32).eval() for name in ("student", "teacher")}


@pytest.fixture(scope="module")
def evaluated(out: Path) -> dict[str, Any]:
    """What recorded_eval has kept."""
    return torch.load(out / "eval" / FILE, weights_only=False)


def test_every_problem_was_rolled_out(rollouts: list[dict[str, Any]]) -> None:
    """Two steps of 2 x 2; before and after them six held-out problems, of two splits; and the preflight's four."""
    names = [(rollout["file"].split("-")[0], str(rollout["index"])) for rollout in rollouts]
    trained, held_out = ([index for split, index in names if (split == "train") == train] for train in (True, False))
    assert sorted(trained) == sorted(2 * PROBLEMS[:4])
    assert sorted(held_out) == sorted(PROBLEMS[:4] + 2 * PROBLEMS[4:])


def test_prompts_are_those_of_the_processor(rollouts, problems, processor) -> None:
    """Token ids of chat template, text and image places; in the queue, and as vLLM expanded them."""
    for rollout in rollouts:
        problem = problems[str(rollout["index"])]
        expected = processor(text=[problem.text], images=[problem.image])["input_ids"][0]
        assert rollout["prompts"].tolist() == expected
        assert rollout["input_ids"].tolist() == expected + rollout["responses"].tolist()
        num_visual = expected.count(IMAGE)
        assert num_visual == problem.image.width * problem.image.height // 32**2 >= MIN_PIXELS // 32**2
        if told := rollout["vllm_prompt"]:  # from the second token on, and a filler
            assert [ids[0] for ids in told["prompt_ids"][:-1]] == expected[1:]
    assert sum(rollout["vllm_prompt"] is not None for rollout in rollouts) == 20


def test_an_image_that_the_processor_resizes_itself_has_the_same_tokens(problems, processor) -> None:
    """Given the original and both limits, transformers makes the same places of it, and nearly the same pixels."""
    for problem in problems.values():
        original = Image.open(problem.folder / "img_diagram.png").convert("RGBA")
        white = Image.alpha_composite(Image.new("RGBA", original.size, "white"), original).convert("RGB")
        limits = {"min_pixels": MIN_PIXELS, "max_pixels": MAX_PIXELS}
        theirs = processor(text=[problem.text], images=[white], return_tensors="pt", **limits)
        ours = processor(text=[problem.text], images=[problem.image], return_tensors="pt")
        assert theirs["input_ids"].tolist() == ours["input_ids"].tolist()
        assert theirs["image_grid_thw"].tolist() == ours["image_grid_thw"].tolist()
        assert (theirs["pixel_values"] - ours["pixel_values"]).abs().mean() < 0.01  # of [-1, 1]


def test_both_views_are_those_of_the_processor(rollouts, problems, processor) -> None:
    for rollout in rollouts:
        image = problems[str(rollout["index"])].image
        views = {"multi_modal_inputs": image, "degraded_multi_modal_inputs": pixelated(image)}
        for name, view in views.items():
            expected, got = processor.image_processor([view], return_tensors="pt"), rollout[name]
            assert torch.equal(got["pixel_values"], expected["pixel_values"])
            assert torch.equal(got["image_grid_thw"], expected["image_grid_thw"])
        clean, degraded = (rollout[name]["pixel_values"] for name in views)
        assert not torch.equal(clean, degraded)


def test_positions_are_those_of_the_model(rollouts, models) -> None:
    """Row 0 counts tokens, rows 1 to 3 are the model's: time, height, width; the degraded view has the same."""
    for rollout in rollouts:
        ids = rollout["input_ids"][None]
        expected, _ = models["student"].model.get_rope_index(
            input_ids=ids,
            mm_token_type_ids=(ids == IMAGE).int(),
            image_grid_thw=rollout["multi_modal_inputs"]["image_grid_thw"],
            attention_mask=torch.ones_like(ids),
        )
        assert rollout["position_ids"][0].tolist() == list(range(ids.shape[1]))
        assert torch.equal(rollout["position_ids"][1:], expected[:, 0])
        assert torch.equal(rollout["degraded_multi_modal_inputs"]["position_ids"], rollout["position_ids"])
        assert rollout["position_ids"][1:, -1].max() < ids.shape[1] - 1  # an image takes fewer than its tokens


def response_logits(model: Any, rollout: dict[str, Any], view: str) -> torch.Tensor:
    """[T, V] float64, by plain transformers, which finds the positions itself."""
    ids, num_tokens = rollout["input_ids"][None], len(rollout["responses"])
    images = {name: rollout[view][name] for name in ("pixel_values", "image_grid_thw")}
    with torch.no_grad():
        logits = model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_token_type_ids=(ids == IMAGE).int(),
            logits_to_keep=num_tokens + 1,
            **images,
        ).logits
    return logits[0, :-1].double()


def first_step(out: Path, rollouts: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(dumped row, rollout) of the first step: the student is still the one on disk."""
    by_response = {(str(one["index"]), tuple(one["responses"].tolist())): one for one in rollouts}
    rows = [row for row in read_dumps(out / "runs" / "real", "train").to_pylist() if row["step"] == 1]
    assert len(rows) == 4
    for row in rows:
        yield row, by_response[row["question_id"], tuple(row["token_ids"])]


def test_rows_of_the_heads_without_a_token_count_nowhere(out, rollouts, models) -> None:
    """They have the largest logits of all, by far. Left out: divergence, advantage and vLLM are plain transformers'."""
    for row, rollout in first_step(out, rollouts):
        token = torch.tensor(row["token_ids"])[:, None]
        student = response_logits(models["student"], rollout, "multi_modal_inputs")
        clean = response_logits(models["teacher"], rollout, "multi_modal_inputs")
        degraded = response_logits(models["teacher"], rollout, "degraded_multi_modal_inputs")
        for logits in (student, clean, degraded):
            assert logits.shape[1] == NUM_HEAD_ROWS and (logits.argmax(-1) >= NUM_TOKENS).all()
        p, q, q_degraded = (logits[:, :NUM_TOKENS].log_softmax(-1) for logits in (student, clean, degraded))
        teacher, of_degraded = (log_probs.gather(1, token)[:, 0] for log_probs in (q, q_degraded))
        # vLLM samples no placeholders either.
        sampled = student[:, :NUM_TOKENS].index_fill(1, torch.tensor([IMAGE, VIDEO]), -torch.inf).log_softmax(-1)
        expected = {
            "reverse_kl": (p.exp() * (p - q)).sum(-1),
            "teacher_log_probs": teacher,
            "degraded_teacher_log_probs": of_degraded,
            "visual_advantage": (teacher - of_degraded).clamp_min(0),
            "student_entropy": -(p.exp() * p).sum(-1),
            "rollout_log_probs": sampled.gather(1, token)[:, 0],
        }
        for name, values in expected.items():
            assert torch.allclose(torch.tensor(row[name]).double(), values, atol=TOLERANCE, rtol=0), name
        # The image matters to these models, too; in which direction is chance, and visual advantage has but one.
        assert (teacher - of_degraded).abs().max() > 100 * TOLERANCE


def test_only_tokens_are_sampled_and_some_responses_end(rollouts, evaluated) -> None:
    for ids in (evaluated["sampled"], *(rollout["responses"].tolist() for rollout in rollouts)):
        assert max(ids) < NUM_TOKENS and not {IMAGE, VIDEO} & set(ids)
    assert len({len(rollout["responses"]) for rollout in rollouts}) > 1


def test_rewards_are_those_of_the_published_answers(out, rollouts, problems) -> None:
    tables = [pq.read_table(out / "geo3k" / f"{split}.parquet") for split in ("train", "validation", "test")]
    rows = [row for table in tables for row in table.to_pylist()]
    assert sorted(str(row["extra_info"]["index"]) for row in rows) == PROBLEMS
    for row in rows:
        problem = problems[str(row["extra_info"]["index"])]
        gold = row["reward_model"]["ground_truth"]
        assert gold == problem.answer
        for choice in problem.facts["choices"]:
            score = compute_score(row["data_source"], f"So it is $\\boxed{{{choice}}}$.", gold)["score"]
            assert score == (choice == problem.answer), (gold, choice)
    for rollout in rollouts:
        assert rollout["reward_model"]["ground_truth"] == problems[str(rollout["index"])].answer
        assert rollout["rm_scores"].abs().sum() == 0  # random words


def test_what_vllm_reads_of_the_benchmark_is_what_the_processor_makes(out, real_files, evaluated) -> None:
    """With the processor that was exported with the checkpoint."""
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(out / "exported")
    lines = (out / "eval" / "wemath" / "questions.jsonl").read_text().splitlines()
    questions = [json.loads(line) for line in lines if "question" in json.loads(line)]
    rows = json.loads((real_files / "wemath" / "testmini_16_problems.json").read_text())
    published = {f"{row['ID']}/{row['key']}": row for row in rows}
    assert len(questions) == len(evaluated["prompts"]) >= 4
    expected = set()
    for question in questions:
        row = published[question["question"]]
        image = resized(real_files / "wemath" / row["image_path"])
        text = processor.tokenizer.decode(evaluated["prompts"][question["question"]])
        text = re.sub(r"(<\|image_pad\|>)+", "<|image_pad|>", text)
        assert text.startswith(f"{USER}") and text.endswith(ASSISTANT) and row["question"].strip() in text
        inputs = processor(text=[text], images=[image], return_tensors="pt")
        assert evaluated["prompts"][question["question"]] == inputs["input_ids"][0].tolist()
        expected |= digests(inputs)
    assert evaluated["images"] == expected
