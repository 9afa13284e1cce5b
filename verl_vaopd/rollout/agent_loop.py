"""verl's agent loop with the degraded view and the verdict attached to every rollout.

Named by `actor_rollout_ref.rollout.agent.agent_loop_manager_class`.
"""

from __future__ import annotations

import contextvars
from typing import Any

import ray
import torch
from omegaconf import OmegaConf
from verl.experimental.agent_loop import AgentLoopOutput
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopManagerTQ, AgentLoopWorkerTQ

from verl_vaopd.rewards import compute_score
from verl_vaopd.rollout.views import FIELD, degrade

# The class under verl's Ray actor.
_Base: Any = AgentLoopWorkerTQ.__ray_actor_class__

# One dict per prompt, shared by its K sibling tasks (tasks inherit the context of `_run_prompt`): the processor runs
# once per prompt and view instead of K times.
_prompt_cache: contextvars.ContextVar[dict[str, dict[str, Any]]] = contextvars.ContextVar("vaopd_prompt_cache")


class ViewAgentLoopWorker(_Base):
    """Agent loop worker that also puts FIELD (see rollout/views.py) and the score of the answer into the queue."""

    # Ray breaks the inherited zero-argument super() of an actor class's __init__ unless the subclass defines its own.
    def __init__(self, *args: Any, **kwargs: Any):
        _Base.__init__(self, *args, **kwargs)
        view = OmegaConf.to_container(self.config.view, resolve=True)
        self.view_kind = view.pop("kind")
        self.view_options = view
        self.degraded_in_training = self.config.method.degraded_view

    async def _run_prompt(
        self, prompt: dict[str, Any], sampling_params: dict[str, Any], trajectory: dict[str, Any], trace: bool = False
    ) -> None:
        _prompt_cache.set({})
        await super()._run_prompt(prompt, sampling_params, trajectory, trace)

    async def _agent_loop_postprocess(
        self, output: AgentLoopOutput | list[AgentLoopOutput], validate: bool, **kwargs: Any
    ) -> None:
        final = output[-1] if isinstance(output, list) else output
        # Held-out rollouts are always scored on both views: mean VA is part of every validation.
        if validate or self.degraded_in_training:
            kwargs[FIELD] = self._degraded_inputs(final)
        await super()._agent_loop_postprocess(output, validate, **kwargs)

    def _degraded_inputs(self, output: AgentLoopOutput) -> dict[str, Any]:
        """Processor outputs for the degraded images, and this view's position ids; {} for a prompt without images."""
        images = (output.multi_modal_data or {}).get("images")
        if not images:
            return {}
        input_ids = torch.tensor([*output.prompt_ids, *output.response_ids])
        cache = _prompt_cache.get()
        if "degraded" not in cache:
            view = output.model_copy(
                update={
                    "multi_modal_data": {
                        **output.multi_modal_data,
                        "images": [degrade(image, self.view_kind, **self.view_options) for image in images],
                    }
                }
            )
            cache["degraded"] = super()._compute_multi_modal_inputs(view, input_ids)
        inputs = dict(cache["degraded"])
        position_ids = self._compute_position_ids(
            input_ids.unsqueeze(0), torch.ones_like(input_ids).unsqueeze(0), inputs
        )
        # _compute_position_ids has taken out what only it needs (mm_token_type_ids).
        return {**inputs, "position_ids": position_ids.squeeze(0)}

    def _compute_multi_modal_inputs(self, output: AgentLoopOutput, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        cache = _prompt_cache.get()
        if "clean" not in cache:
            cache["clean"] = super()._compute_multi_modal_inputs(output, input_ids)
        return dict(cache["clean"])

    async def _compute_score(self, outputs: list[AgentLoopOutput], kwargs: dict[str, Any]) -> None:
        """Rule-based verdict in place. Distillation only monitors it: no reward workers are started for it."""
        final = outputs[-1]
        if final.reward_score is not None:
            return
        text = self.tokenizer.decode(final.response_ids, skip_special_tokens=True)
        verdict = compute_score(
            kwargs["data_source"], text, kwargs["reward_model"]["ground_truth"], kwargs["extra_info"]
        )
        final.reward_score = verdict["score"]
        final.extra_fields["reward_extra_info"] = verdict


class ViewAgentLoopManager(AgentLoopManagerTQ):
    """Starts ViewAgentLoopWorkers."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.agent_loop_workers_class = ray.remote(ViewAgentLoopWorker)
