"""Stored responses in the place of rollouts: verl's own agent loop, answered from a file instead of by vLLM.

Prompt, images, masks and scoring are those of any other rollout, so that batching, loss and validation are too. What is
missing is what only a sampler knows: there are no `rollout_log_probs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, register
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop
from verl.workers.rollout.replica import TokenOutput

from verl_vaopd.data.stored import stored_responses

AGENT_NAME = "vaopd_replay"
"""What a prompt's `agent_name` must be to be answered by ReplayAgentLoop."""


class StandInServer:
    """Stands in for verl's client of the rollout engine: gives one answer, and keeps what it was asked.

    Attributes:
        request: the keyword arguments of the last request, as verl sends them.
    """

    def __init__(self, answer: Sequence[int]) -> None:
        self._answer = list(answer)
        self.request: dict[str, Any] = {}

    async def generate(self, **request: Any) -> TokenOutput:
        """The answer, without log-probs."""
        self.request = request
        return TokenOutput(token_ids=self._answer, stop_reason="completed")


@register(AGENT_NAME)
class ReplayAgentLoop(SingleTurnAgentLoop):
    """Single-turn loop in which sibling k of a prompt gives the prompt's k-th response in `collect.path`."""

    async def run(self, sampling_params: dict[str, Any], priority: int = 0, **kwargs: Any) -> AgentLoopOutput:
        """One rollout; `kwargs` holds the row of the data set, and the sibling's number as `session_id`.

        Raises:
            ValueError: if no such response is stored, or it is longer than data.max_response_length.
        """
        self.server_manager = StandInServer(self._stored(str(kwargs["index"]), kwargs["session_id"]))
        return await super().run(sampling_params, priority, **kwargs)

    def _stored(self, index: str, number: int) -> list[int]:
        path = self.config.collect.path
        responses = stored_responses(path).responses(index)
        if number >= len(responses):
            raise ValueError(
                f"prompt {index!r}: got sibling {number}, expected less than {len(responses)}, the number of responses "
                f"stored in {path}; ask for no more siblings than that"
            )
        response = responses[number]
        if len(response) > self.response_length:
            raise ValueError(
                f"prompt {index!r}: got a stored response of {len(response)} tokens, expected at most "
                f"data.max_response_length={self.response_length}; a response is never cut: raise the limit, or "
                f"collect again with it ({path})"
            )
        return response
