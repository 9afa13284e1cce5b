"""From a row of a data file to the reward that GRPO trains on: verl's own code but for the rollout engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from omegaconf import OmegaConf

from verl_vaopd.data.scoring import Verifier
from verl_vaopd.limited_process import Limits
from verl_vaopd.platform import activate

SUFFIX = " Answer in \\boxed{}."
ROWS = {
    "geo3k": ("Find AB.", "3\\sqrt{2}", "\\boxed{\\sqrt{18}}"),
    "virl39k": ("Find x. A. 30° B. 45°", "B", "\\boxed{45}"),
    "exact_match": ("Find x.", "42", "\\boxed{42}"),
}


class Letters:
    """A tokenizer whose tokens are characters."""

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        return "".join(map(chr, ids))


@pytest.fixture
def worker() -> Iterator[Any]:
    """verl's agent loop worker as ours extends it, with what scoring needs of it."""
    activate()
    from verl_vaopd.rollout.agent_loop import ViewAgentLoopWorker

    made = ViewAgentLoopWorker.__new__(ViewAgentLoopWorker)
    made.tokenizer, made.verifier, made.verifying = Letters(), Verifier(Limits(max_seconds=0.2)), ThreadPoolExecutor(1)
    yield made
    made.verifier.close()
    made.verifying.shutdown()


async def rm_scores(worker: Any, prompt: dict[str, Any], response: str) -> torch.Tensor:
    """Of one rollout, as it goes into the queue."""
    from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput

    ids = [ord(character) for character in response]
    output = AgentLoopOutput(prompt_ids=[1], response_ids=ids, response_mask=[1] * len(ids), metrics=AgentLoopMetrics())
    await worker._compute_score([output], prompt)
    return output.as_dict()["rm_scores"]


@pytest.mark.parametrize("source", ROWS)
def test_a_row_is_read_and_its_answers_have_the_advantages_of_grpo(source: str, worker: Any, tmp_path: Path) -> None:
    """One right answer and one wrong one: standardised rewards are 1/sqrt(2) and its negative on every token."""
    from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage

    from verl_vaopd.rollout.dataset import PromptDataset

    question, truth, right = ROWS[source]
    row = {
        "prompt": [{"role": "user", "content": question}],
        "data_source": source,
        "reward_model": {"style": "rule", "ground_truth": truth},
    }
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "train.parquet")
    config = OmegaConf.create({"rows": {"prompt_suffix": SUFFIX, "left_out": None}, "shuffle": False})
    prompt = PromptDataset(str(tmp_path / "train.parquet"), None, config)[0]
    assert prompt["raw_prompt"][0]["content"].endswith(SUFFIX), "which is no part of option B's text"
    scores = [asyncio.run(rm_scores(worker, prompt, response)) for response in (right, "\\boxed{7}")]
    padded = torch.nn.utils.rnn.pad_sequence(scores, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(each) for each in scores], batch_first=True)
    advantages, _ = compute_grpo_outcome_advantage(padded, mask, np.array(["q", "q"], dtype=object))
    expected = mask * torch.tensor([[0.5**0.5], [-(0.5**0.5)]])
    torch.testing.assert_close(advantages, expected, atol=1e-4, rtol=0)


def test_other_rollouts_go_on_while_an_answer_is_scored(worker: Any) -> None:
    """The event loop comes round many times before the limit ends the scoring; then the answer is wrong."""
    prompt = {"data_source": "geo3k", "reward_model": {"ground_truth": "5", "question": ""}}

    async def turns() -> int:
        scoring = asyncio.ensure_future(rm_scores(worker, prompt, "{}" * 500_000))
        number = 0
        while not scoring.done():
            await asyncio.sleep(0)
            number += 1
        assert (await scoring).sum() == 0
        assert await worker.take_unscored() == {"it took more than 0.2 s": 1}
        return number

    assert asyncio.run(turns()) > 10


def test_a_response_without_a_token_is_a_failed_rollout(worker: Any) -> None:
    """It has nothing to score or to learn from."""
    from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput

    output = AgentLoopOutput(prompt_ids=[1], response_ids=[], response_mask=[], metrics=AgentLoopMetrics())
    with pytest.raises(ValueError, match="returned no token"):
        asyncio.run(worker._agent_loop_postprocess(output, validate=False, index=0, global_steps=1))
