"""Replay runs verl's own agent loop on stored ids; collection asks vLLM exactly the prompts that training sees."""

from __future__ import annotations

import asyncio
import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image

from verl_vaopd.config import compose
from verl_vaopd.data.scoring import Verifier
from verl_vaopd.data.stored import Collection, StoredPrompt
from verl_vaopd.limited_process import Limits
from verl_vaopd.platform import activate

NUM_PROMPTS = 6
RESPONSES = {"0": [[5, 6, 7, 727], [8, 727]], "1": [], "2": [[9] * 256]}


@pytest.fixture(scope="module")
def cfg(tmp_path_factory: pytest.TempPathFactory) -> DictConfig:
    """A tinygeo job with a training file and stored responses to its first three prompts; the last has no image."""
    activate()
    from verl_vaopd.data.generated import generate

    root = tmp_path_factory.mktemp("replay")
    sizes = {"num_train": NUM_PROMPTS, "num_validation": 1, "num_test": 1}
    cfg = compose(
        [
            *("hardware=cpu", "dataset=tinygeo", "student=tiny", "teacher=tiny"),
            f"dataset.root={root / 'tinygeo'}",
            f"collect.path={root / 'responses'}",
            *(f"dataset.{key}={value}" for key, value in sizes.items()),
        ]
    )
    generate(cfg)
    table = pq.read_table(root / "tinygeo" / "train.parquet")
    rows = table.to_pylist()
    rows[-1] |= {"images": [], "prompt": [{"role": "user", "content": "How long is side AB?"}]}
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), root / "tinygeo" / "train.parquet")
    with Collection(root / "responses", {"collect.prompts_per_part": 3}, 3, {}) as writing:
        writing.append(
            [StoredPrompt(index, ids, ["" for _ in ids], 8, len(ids), 0, 0, 0, 0.0) for index, ids in RESPONSES.items()]
        )
    return cfg


@pytest.fixture(scope="module")
def training_prompts(cfg: DictConfig) -> Any:
    from verl_vaopd.rollout.prompts import TrainingPrompts

    return TrainingPrompts(cfg, Path(cfg.dataset.root) / "train.parquet")


def rollout(cfg: DictConfig, row: dict[str, Any], agent_name: str, session_id: int = 0) -> Any:
    """What verl's worker gets from an agent loop, by its own `_run_agent_loop`; its server answers with one token."""
    from verl.experimental.agent_loop.agent_loop import AgentLoopWorker
    from verl.utils.config import omega_conf_to_dataclass
    from verl.utils.dataset.rl_dataset import get_dataset_class

    from verl_vaopd.rollout import replay

    class Worker(AgentLoopWorker):
        def __init__(self) -> None:
            model = omega_conf_to_dataclass(cfg.actor_rollout_ref.model)
            self.config, self.dataset_cls, self.tools = cfg, get_dataset_class(cfg.data), []
            self.tokenizer, self.processor = model.tokenizer, model.processor
            self.hf_model_type = model.hf_config.model_type
            self.llm_client = replay.StandInServer([3])

        async def _agent_loop_postprocess(self, output: Any, validate: bool, **kwargs: Any) -> Any:
            return output

    trajectory = {"step": 1, "sample_index": row["index"], "rollout_n": session_id, "validate": False}
    run = Worker()._run_agent_loop({}, trajectory, agent_name=agent_name, trace=False, session_id=session_id, **row)
    return asyncio.run(run)


# ---- prompts of the collection


def test_prompts_are_those_of_verls_agent_loop(cfg: DictConfig, training_prompts: Any) -> None:
    prompts = training_prompts.build(range(NUM_PROMPTS))
    assert [prompt.index for prompt in prompts] == [str(index) for index in range(NUM_PROMPTS)]
    for row, prompt in enumerate(prompts):
        output = rollout(cfg, training_prompts.dataset[row], "single_turn_agent")
        assert prompt.token_ids == output.prompt_ids
        images = (output.multi_modal_data or {}).get("images") or []
        assert [image.tobytes() for image in prompt.engine_input["multi_modal_data"].get("image", [])] == [
            image.tobytes() for image in images
        ]


def test_prompts_are_those_of_the_processor(cfg: DictConfig, training_prompts: Any) -> None:
    """Recomputed with transformers alone; vLLM is given one placeholder where training has one per visual token."""
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(cfg.student.path)
    rows = pq.read_table(Path(cfg.dataset.root) / "train.parquet").to_pylist()
    for row, prompt in zip(rows, training_prompts.build(range(NUM_PROMPTS)), strict=True):
        images = [Image.open(io.BytesIO(image["bytes"])).convert("RGB") for image in row["images"]]
        text = {"type": "text", "text": row["prompt"][0]["content"].replace("<image>", "")}
        message = [{"role": "user", "content": [*({"type": "image"} for _ in images), text]}]
        rendered = processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
        expected = processor(text=[rendered], images=images or None)["input_ids"][0]
        assert prompt.token_ids == list(expected)
        asked = prompt.engine_input["prompt_token_ids"]
        assert processor.tokenizer.decode(asked) == rendered
        assert asked.count(processor.image_token_id) == len(images)
        assert prompt.verification["ground_truth"] == row["reward_model"]["ground_truth"]


# ---- verdicts


@pytest.fixture(scope="module")
def verify(training_prompts: Any) -> Any:
    """Verdict on a text that answers the first prompt, followed by further ids."""
    from verl_vaopd.rollout.collect import verify as judge

    verifier = Verifier(Limits())
    prompt, tokenizer = training_prompts.build([0])[0], training_prompts.tokenizer

    def verdict(text: str, *more: int, finish_reason: str = "stop") -> Any:
        ids = [*tokenizer(text)["input_ids"], *more]
        return judge(SimpleNamespace(token_ids=ids, finish_reason=finish_reason), prompt, tokenizer, verifier)

    verdict.truth = prompt.verification["ground_truth"]
    verdict.tokenizer = tokenizer
    yield verdict
    verifier.close()


def test_a_right_answer_that_ends_is_usable(verify: Any) -> None:
    eos = verify.tokenizer.eos_token_id
    answer = f"so \\boxed{{{verify.truth}}}"
    right = verify(answer, eos)
    assert (right.text, right.ended, right.well_formed, right.correct) == (answer, True, True, True)
    assert right.token_ids[-1] == eos
    assert not verify("\\boxed{-1}", eos).correct
    assert not verify(f"{answer} {answer}", eos).well_formed
    assert not verify(answer, finish_reason="length").ended


def test_special_tokens_and_ids_beyond_the_tokenizer_are_malformed(verify: Any) -> None:
    """They leave no trace in the text, but an image placeholder without an image breaks training."""
    tokenizer = verify.tokenizer
    answer = f"\\boxed{{{verify.truth}}}"
    image = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    for stray in (image, tokenizer.convert_tokens_to_ids("<|im_start|>"), len(tokenizer)):
        judged = verify(answer, stray, tokenizer.eos_token_id)
        assert judged.correct and judged.text == answer and not judged.well_formed


# ---- replay


@pytest.mark.parametrize("sibling", [0, 1])
def test_replay_is_verls_loop_with_the_stored_ids(cfg: DictConfig, training_prompts: Any, sibling: int) -> None:
    row = training_prompts.dataset[0]
    output = rollout(cfg, row, "vaopd_replay", sibling)
    sampled = rollout(cfg, training_prompts.dataset[0], "single_turn_agent")
    assert output.response_ids == RESPONSES["0"][sibling]
    assert output.response_mask == [1] * len(output.response_ids)
    assert output.prompt_ids == sampled.prompt_ids
    assert output.multi_modal_data["images"][0].tobytes() == sampled.multi_modal_data["images"][0].tobytes()
    assert output.response_logprobs is None
    fields = output.as_dict()
    assert "rollout_log_probs" not in fields
    assert torch.equal(fields["responses"], torch.tensor(RESPONSES["0"][sibling]))


def test_a_sibling_that_is_not_stored_is_an_error(cfg: DictConfig, training_prompts: Any) -> None:
    for row, sibling, stored in ((0, 2, 2), (1, 0, 0)):
        with pytest.raises(ValueError, match=rf"got sibling {sibling}, expected less than {stored},"):
            rollout(cfg, training_prompts.dataset[row], "vaopd_replay", sibling)
    with pytest.raises(ValueError, match="no prompt '3'"):
        rollout(cfg, training_prompts.dataset[3], "vaopd_replay")


def test_a_stored_response_is_never_cut(cfg: DictConfig, training_prompts: Any) -> None:
    row = training_prompts.dataset[2]
    assert rollout(cfg, row, "vaopd_replay").response_ids == RESPONSES["2"][0]  # exactly the limit
    shorter = cfg.copy()
    shorter.data.max_response_length = 255
    expected = "got a stored response of 256 tokens, expected at most data.max_response_length=255"
    with pytest.raises(ValueError, match=re.escape(expected)):
        rollout(shorter, training_prompts.dataset[2], "vaopd_replay")
