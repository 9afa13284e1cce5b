"""What a run really uses, kept beside it: each rollout as it goes into verl's queue, and the prompt as vLLM read it.

`actor_rollout_ref.rollout.agent.agent_loop_manager_class=tests.real_path.recording.RecordingManager` puts it into a
training; the rest is the product. vLLM tells its prompt because it is asked for the log-probs of the prompt, too, which
verl passes on; only for the first of every prompt's rollouts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray
import torch
import transfer_queue

from verl_vaopd.rollout.agent_loop import ViewAgentLoopManager, ViewAgentLoopWorker

FOLDER = "recorded"


class RecordingWorker(ViewAgentLoopWorker):
    """Writes RUN/recorded/SPLIT-STEP-KEY.pt: the fields of one rollout, and vLLM's prompt where it was told."""

    def __init__(self, *args: Any, **kwargs: Any):
        ViewAgentLoopWorker.__init__(self, *args, **kwargs)
        self._folder = Path(self.config.run.dir) / FOLDER
        self._folder.mkdir(exist_ok=True)
        self._prompts: dict[str, dict[str, Any]] = {}
        put = transfer_queue.async_kv_batch_put

        async def recorded(keys: list[str], fields: Any, tags: list[dict[str, Any]], partition_id: str) -> Any:
            for row, key in enumerate(keys):
                values = {name: getattr(value, "data", value) for name, value in fields[row].items()}
                values["vllm_prompt"] = self._prompts.pop(key, None)
                torch.save(values, self._folder / f"{partition_id}-{tags[row]['global_steps']}-{key}.pt")
            return await put(keys=keys, fields=fields, tags=tags, partition_id=partition_id)

        transfer_queue.async_kv_batch_put = recorded

    async def _run_agent_loop(self, sampling_params: dict[str, Any], trajectory: Any, **kwargs: Any) -> None:
        if kwargs["session_id"] == 0:
            sampling_params = {**sampling_params, "prompt_logprobs": 0}
        await super()._run_agent_loop(sampling_params, trajectory, **kwargs)

    async def _agent_loop_postprocess(self, output: Any, validate: bool, **kwargs: Any) -> None:
        told = {name: output.extra_fields.pop(name, None) for name in ("prompt_ids", "prompt_logprobs")}
        if told["prompt_ids"] is not None:
            self._prompts[f"{kwargs['uid']}_{kwargs['session_id']}_0"] = told
        await super()._agent_loop_postprocess(output, validate, **kwargs)


class RecordingManager(ViewAgentLoopManager):
    """Starts RecordingWorkers."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.agent_loop_workers_class = ray.remote(RecordingWorker)
