"""The training prompts as verl's rollout engine is asked them, without a rollout engine.

verl's own data set and agent loop build them; only the server at the end is another one. So they follow verl's chat
template, processor and image preprocessing token for token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from verl.experimental.agent_loop.agent_loop import DictConfigWrap
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop
from verl.trainer.ppo.utils import create_rl_dataset
from verl.utils.config import omega_conf_to_dataclass
from verl.workers.rollout.utils import qwen2_5_vl_dedup_image_tokens

from verl_vaopd.rollout.replay import StandInServer


@dataclass(frozen=True)
class Prompt:
    """One training prompt, and what its answers are verified with."""

    index: str
    """Of the row in the training file."""
    token_ids: list[int]
    """With one placeholder per visual token, as training sees them."""
    engine_input: dict[str, Any]
    """What vLLM is given: one placeholder per image, and the images."""
    verification: dict[str, Any]
    """Arguments of scoring.Verifier.verify besides the answer."""


class TrainingPrompts:
    """All prompts of a training file, tokenized as the student's are.

    Args:
        cfg: the job's configuration.
        train_file: parquet, whose rows have been checked.
    """

    def __init__(self, cfg: DictConfig, train_file: Path) -> None:
        self._config = cfg
        self._model = omega_conf_to_dataclass(cfg.actor_rollout_ref.model)
        self.tokenizer = self._model.tokenizer
        self.dataset = create_rl_dataset(str(train_file), cfg.data, self.tokenizer, self._model.processor)

    def __len__(self) -> int:
        return len(self.dataset)

    def build(self, rows: Iterable[int]) -> list[Prompt]:
        """The prompts of these rows, images loaded."""
        return asyncio.run(self._build_all(rows))

    async def _build_all(self, rows: Iterable[int]) -> list[Prompt]:
        return await asyncio.gather(*(self._build(self.dataset[row]) for row in rows))

    async def _build(self, row: dict[str, Any]) -> Prompt:
        server = StandInServer([self.tokenizer.eos_token_id])
        loop = SingleTurnAgentLoop(
            trainer_config=DictConfigWrap(self._config),
            server_manager=server,
            tokenizer=self.tokenizer,
            processor=self._model.processor,
            dataset_cls=type(self.dataset),
            data_config=DictConfigWrap(self._config.data),
            hf_model_type=self._model.hf_config.model_type,
        )
        await loop.run({}, **row)
        request = server.request
        # What verl's vLLM server makes of a request (verl/workers/rollout/vllm_rollout/vllm_async_server.py:635).
        media = {"image": request["image_data"], "video": request["video_data"], "audio": request["audio_data"]}
        engine_input = {
            "prompt_token_ids": qwen2_5_vl_dedup_image_tokens(request["prompt_ids"], self._model.processor),
            "multi_modal_data": {name: data for name, data in media.items() if data is not None},
        }
        if request["mm_processor_kwargs"]:
            engine_input["mm_processor_kwargs"] = request["mm_processor_kwargs"]
        return Prompt(
            index=str(row["index"]),
            token_ids=request["prompt_ids"],
            engine_input=engine_input,
            verification={
                "data_source": row["data_source"],
                **row["reward_model"],
            },
        )
