"""Other views of a prompt: corrupted ones, the same for its rollouts; and the one with the reference solution."""

import asyncio
import contextlib
import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput

from tests.engine import harness
from verl_vaopd.config import compose
from verl_vaopd.engine.fields import DEGRADED_INPUTS
from verl_vaopd.engine.views import other_view
from verl_vaopd.rollout.agent_loop import View, ViewAgentLoopWorker, _Base

PROMPT = {"split": "train", "index": "7", "step": 3}


@pytest.fixture(scope="module")
def image():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (42, 56, 3), dtype=np.uint8))


def papo_view(seed=0):
    config = compose(["method=papo", "student=tiny", "teacher=tiny", "dataset=tinygeo", "hardware=cpu"])
    return View(config.papo.view, seed, {})


def pixels(images):
    return [np.asarray(picture).tolist() for picture in images]


def test_a_mask_belongs_to_prompt_step_and_seed(image):
    view = papo_view()
    first = pixels(view.of([image, image], **PROMPT))
    assert first == pixels(papo_view().of([image, image], **PROMPT)), "any worker makes the same"
    assert first[0] != first[1], "two images of a prompt are masked independently"
    others = [{"index": "8"}, {"step": 4}, {"split": "val"}]
    assert all(pixels(view.of([image, image], **PROMPT | other)) != first for other in others)
    assert pixels(papo_view(seed=1).of([image, image], **PROMPT)) != first


def test_options_of_other_kinds_are_not_passed_on(image):
    options = OmegaConf.create({"kind": "blank", "ratio": 0.1, "radius": 0.1, "block": 14, "mask_prob": 0.6})
    [blank] = View(options, 0, {}).of([image], **PROMPT)
    assert blank.size == image.size
    assert len(set(map(tuple, np.asarray(blank).reshape(-1, 3)))) == 1


def test_a_view_replaces_images_and_their_positions(batch):
    """`wide` is seen transposed: other patches, another grid, other positions; text stays as it is."""
    data = harness.pack(batch)
    view = other_view(data, DEGRADED_INPUTS)
    positions = list(zip(data["position_ids"].unbind(), view["position_ids"].unbind(), strict=True))
    changed = [not bool((clean == other).all()) for clean, other in positions]
    assert changed == [row["uid"] == "wide" for row in batch]
    for number, row in enumerate(batch):
        inputs = view["multi_modal_inputs"][number]
        inputs = getattr(inputs, "data", inputs)
        assert "position_ids" not in inputs
        if row["uid"] == "text":
            assert not inputs
        else:
            assert not (inputs["pixel_values"] == row["multi_modal_inputs"]["pixel_values"]).all()


@pytest.fixture(scope="module")
def privileged_worker(workspace):
    """A worker whose teacher reads a solution of a few tokens."""
    config = harness.model_config(workspace / "student")
    worker = ViewAgentLoopWorker.__new__(ViewAgentLoopWorker)
    worker.processor, worker.tokenizer, worker.mm_processor_kwargs = config.processor, config.tokenizer, {}
    worker.config = OmegaConf.create({"data": {"max_prompt_length": 500, "max_response_length": 100}})
    worker.privilege = OmegaConf.create({"reference": "solution", "template": " Answer: {reference}"})
    return worker


@pytest.mark.parametrize("uid", ["text", "wide"])
def test_the_privileged_prompt_is_the_students_with_the_solution_in_it(workspace, batch, privileged_worker, uid):
    """With and without images: what follows the solution is moved by its length, positions included."""
    row = next(row for row in batch if row["uid"] == uid)
    [prompt] = [prompt for prompt in json.loads((workspace / "prompts.json").read_text()) if prompt["uid"] == uid]
    pictures = [Image.open(workspace / name).convert("RGB") for name in prompt["images"]]
    ids, response = row["input_ids"].tolist(), prompt["responses"][0]
    output = AgentLoopOutput(
        prompt_ids=ids[: -len(response)],
        response_ids=response,
        response_mask=[1] * len(response),
        multi_modal_data={"images": pictures} if pictures else {},
        metrics=AgentLoopMetrics(),
    )
    inputs = privileged_worker._privileged_inputs(output, {"index": 0, "solution": "AB is 5"})
    solution = privileged_worker.tokenizer.encode(" Answer: AB is 5")
    end = len(output.prompt_ids) - 1 - output.prompt_ids[::-1].index(privileged_worker.tokenizer.eos_token_id)
    assert inputs["input_ids"].tolist() == [*ids[:end], *solution, *ids[end:]]
    positions = row["position_ids"]
    between = positions[:, end : end + 1] + torch.arange(len(solution))
    expected = torch.cat([positions[:, :end], between, positions[:, end:] + len(solution)], dim=1)
    assert torch.equal(inputs["position_ids"], expected)


def test_a_worker_is_connected_later():
    """verl writes on the client when the worker starts, before the real one is there."""
    worker = ViewAgentLoopWorker.__new__(ViewAgentLoopWorker)
    worker.llm_client = SimpleNamespace(tokenizer="for traces")
    client, rewards = SimpleNamespace(servers=1), [object()]
    worker.connect(client, rewards)
    assert worker.llm_client is client and worker.reward_loop_worker_handles is rewards
    assert vars(client) == {"servers": 1, "tokenizer": "for traces"}


def test_a_worker_counts_the_rollouts_that_fail_by_their_reasons(monkeypatch):
    """verl only logs them; what is asked for once is not counted again."""
    worker = ViewAgentLoopWorker.__new__(ViewAgentLoopWorker)
    worker.failures = Counter()

    async def run(self, sampling_params, trajectory, *, agent_name, trace, reason):
        if reason is not None:
            raise reason

    monkeypatch.setattr(_Base, "_run_agent_loop", run)
    for reason in (ValueError("no\nrule"), None, ValueError("no\nrule"), KeyError("x")):
        rollout = worker._run_agent_loop({}, {}, agent_name="a", trace=False, reason=reason)
        with pytest.raises(type(reason)) if reason else contextlib.nullcontext():
            asyncio.run(rollout)
    assert worker.take_failures() == {"ValueError: no rule": 2, "KeyError: 'x'": 1}
    assert worker.take_failures() == {}
