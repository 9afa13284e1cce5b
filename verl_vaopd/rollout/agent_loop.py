"""verl's agent loop with corrupted views, a privileged prompt and the verdict attached to every rollout.

Named by `actor_rollout_ref.rollout.agent.agent_loop_manager_class`.
"""

from __future__ import annotations

import asyncio
import contextvars
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import ray
import torch
from omegaconf import DictConfig
from verl.experimental.agent_loop import AgentLoopOutput
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopManagerTQ, AgentLoopWorkerTQ
from verl.workers.rollout.replica import get_rollout_replica_class

from verl_vaopd.config.objective import Objective
from verl_vaopd.data.scoring import Verifier
from verl_vaopd.data.stored import stored_responses
from verl_vaopd.engine import fields
from verl_vaopd.images import degradation_options, degrade
from verl_vaopd.limited_process import Limits
from verl_vaopd.rollout import replay
from verl_vaopd.rollout.other_images import OtherImages
from verl_vaopd.rollout.privilege import privileged_prompt
from verl_vaopd.runs.causes import short_cause

if TYPE_CHECKING:
    from verl.workers.rollout.llm_server import LLMServerClient

# The class under verl's Ray actor.
_Base: Any = AgentLoopWorkerTQ.__ray_actor_class__

# One dict per prompt, shared by its K sibling tasks (tasks inherit the context of `_run_prompt`): the processor runs
# once per prompt and view instead of K times.
_prompt_cache: contextvars.ContextVar[dict[str, dict[str, Any]]] = contextvars.ContextVar("vaopd_prompt_cache")


AS_IN_TRAINING = "as_in_training"
"""Field of a prompt of no training step that is sampled like one of a step all the same, once."""


class View:
    """One kind of corruption with its options: what `view` and `papo.view` of the configuration describe."""

    def __init__(self, options: DictConfig, run_seed: int, files: dict[str, Any]):
        self.kind = options.kind
        self.options = {name: options[name] for name in degradation_options(options.kind)}
        self.run_seed = run_seed
        # Only one kind looks at other prompts' images.
        self.others = OtherImages(files) if self.kind == "other_image" else None

    def of(self, images: list[Any], split: str, index: str, step: int) -> list[Any]:
        """The corrupted images of a prompt; the same for all of its rollouts."""
        seed = zlib.crc32(f"{self.run_seed} {split} {index} {step}".encode())
        others = {} if self.others is None else {"other": self.others.pick(split, index, seed, images)}
        return [
            degrade(image, self.kind, seed=seed + number, **self.options, **others)
            for number, image in enumerate(images)
        ]


class ViewAgentLoopWorker(_Base):
    """Agent loop worker that also puts other views of the prompt and the score of the answer into the queue."""

    llm_client: Any

    # Ray breaks the inherited zero-argument super() of an actor class's __init__ unless the subclass defines its own.
    def __init__(self, *args: Any, **kwargs: Any):
        _Base.__init__(self, *args, **kwargs)
        config = self.config
        # Imports vLLM, which the first server's handle would do later, while a rollout waits for it.
        get_rollout_replica_class(config.actor_rollout_ref.rollout.name)
        files = {"train": config.data.train_files, "val": config.data.val_files}
        self.degraded_view = View(config.view, config.run.seed, files)
        objective = self.objective = Objective.from_config(config)
        self.masked_view = View(config.papo.view, config.run.seed, files) if objective.needs_masked_view else None
        self.privilege: DictConfig | None = config.privilege if objective.privileged else None
        self.stored = stored_responses(config.collect.path) if objective.stored_responses else None
        self.failures: Counter[str] = Counter()
        self.verifier = Verifier(Limits(**config.verification))
        # Its only thread: answers are scored one after the other, while the event loop goes on.
        self.verifying = ThreadPoolExecutor(1)

    def take_failures(self) -> Counter[str]:
        """How often each reason ended a rollout, since the last call."""
        taken, self.failures = self.failures, Counter()
        return taken

    async def take_unscored(self) -> Counter[str]:
        """How often which limit ended the scoring of an answer, since the last call."""
        return await asyncio.get_running_loop().run_in_executor(self.verifying, self.verifier.take_unscored)

    async def _run_agent_loop(
        self,
        sampling_params: dict[str, Any],
        trajectory: dict[str, Any],
        *,
        agent_name: str,
        trace: bool = True,
        **kwargs: Any,
    ) -> None:
        """One rollout; verl logs what it raises, and goes on without it."""
        try:
            await super()._run_agent_loop(sampling_params, trajectory, agent_name=agent_name, trace=trace, **kwargs)
        except Exception as error:
            self.failures[f"{type(error).__name__}: {short_cause(str(error))}"] += 1
            raise

    def connect(self, llm_client: LLMServerClient, reward_handles: list[ray.actor.ActorHandle] | None) -> None:
        """Whom to ask for responses and, if not this process, for rewards; before the first prompt."""
        vars(llm_client).update(vars(self.llm_client))  # what verl has attached to the placeholder, for traces
        self.llm_client, self.reward_loop_worker_handles = llm_client, reward_handles

    async def _run_prompt(
        self, prompt: dict[str, Any], sampling_params: dict[str, Any], trajectory: dict[str, Any], trace: bool = False
    ) -> None:
        _prompt_cache.set({})
        if prompt.pop(AS_IN_TRAINING, False):
            rollout = self.config.actor_rollout_ref.rollout
            sampling_params = sampling_params | {name: rollout[name] for name in ("temperature", "top_p", "top_k")}
            prompt["__rollout_n__"] = 1
        if self.stored is not None and not trajectory["validate"]:
            # A prompt without a stored response yields no rollout; the step counts it as dropped.
            num_stored = self.stored.num_responses(str(prompt["index"]))
            prompt["__rollout_n__"] = min(self.config.actor_rollout_ref.rollout.n, num_stored)
            prompt["agent_name"] = replay.AGENT_NAME
        await super()._run_prompt(prompt, sampling_params, trajectory, trace)

    async def _agent_loop_postprocess(
        self, output: AgentLoopOutput | list[AgentLoopOutput], validate: bool, **kwargs: Any
    ) -> None:
        final = output[-1] if isinstance(output, list) else output
        if not final.response_ids:
            raise ValueError("the rollout engine returned no token")
        # A held-out question keeps its view, so that validations of different steps compare.
        prompt = {
            "split": "val" if validate else "train",
            "index": str(kwargs["index"]),
            "step": 0 if validate else int(kwargs["global_steps"]),
        }
        # Held-out rollouts are always scored on both views: mean VA is part of every validation.
        if validate or self.objective.measures_advantage:
            kwargs[fields.DEGRADED_INPUTS] = self._view_inputs(final, self.degraded_view, prompt)
        if self.masked_view is not None and not validate:
            kwargs[fields.MASKED_INPUTS] = self._view_inputs(final, self.masked_view, prompt)
        if self.privilege is not None and not validate:
            kwargs[fields.PRIVILEGED_INPUTS] = self._privileged_inputs(final, kwargs)
        await super()._agent_loop_postprocess(output, validate, **kwargs)

    def _view_inputs(self, output: AgentLoopOutput, view: View, prompt: dict[str, Any]) -> dict[str, Any]:
        """Processor outputs for the corrupted images, and this view's position ids; {} for a prompt without images."""
        images = (output.multi_modal_data or {}).get("images")
        if not images:
            return {}
        input_ids = torch.tensor([*output.prompt_ids, *output.response_ids])
        cache = _prompt_cache.get()
        name = f"view {id(view)}"
        if name not in cache:
            corrupted = output.model_copy(
                update={"multi_modal_data": {**output.multi_modal_data, "images": view.of(images, **prompt)}}
            )
            cache[name] = super()._compute_multi_modal_inputs(corrupted, input_ids)
        inputs = dict(cache[name])
        position_ids = self._positions(input_ids, inputs)
        # Computing positions has taken out what only they need (mm_token_type_ids).
        return {**inputs, fields.POSITION_IDS: position_ids}

    def _privileged_inputs(self, output: AgentLoopOutput, sample: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Token and position ids of the same response after a prompt with the reference solution."""
        assert self.privilege is not None
        limit = self.config.data.max_prompt_length + self.config.data.max_response_length
        prompt_ids = privileged_prompt(output.prompt_ids, sample, self.privilege, self.tokenizer, limit)
        input_ids = torch.tensor([*prompt_ids, *output.response_ids])
        inputs = super()._compute_multi_modal_inputs(output, input_ids)
        return {fields.INPUT_IDS: input_ids, fields.POSITION_IDS: self._positions(input_ids, inputs)}

    def _positions(self, input_ids: torch.Tensor, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Position ids (4, S) of prompt and response."""
        mask = torch.ones_like(input_ids)
        return self._compute_position_ids(input_ids.unsqueeze(0), mask.unsqueeze(0), inputs).squeeze(0)

    def _compute_multi_modal_inputs(self, output: AgentLoopOutput, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        cache = _prompt_cache.get()
        if "clean" not in cache:
            cache["clean"] = super()._compute_multi_modal_inputs(output, input_ids)
        return dict(cache["clean"])

    async def _compute_score(self, outputs: list[AgentLoopOutput], kwargs: dict[str, Any]) -> None:
        """Rule-based verdict in place: the reward of GRPO and PAPO, and everywhere the monitored accuracy."""
        final = outputs[-1]
        if final.reward_score is not None:
            return
        text = self.tokenizer.decode(final.response_ids, skip_special_tokens=True)
        verify = partial(self.verifier.verify, kwargs["data_source"], text, **kwargs["reward_model"])
        verdict = await asyncio.get_running_loop().run_in_executor(self.verifying, verify)
        final.reward_score = verdict["score"]
        final.extra_fields["reward_extra_info"] = verdict


class ViewAgentLoopManager(AgentLoopManagerTQ):
    """Starts ViewAgentLoopWorkers, and connects them later: they need not wait for the models."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.agent_loop_workers_class = ray.remote(ViewAgentLoopWorker)

    @classmethod
    def start(cls, config: DictConfig) -> ViewAgentLoopManager:
        """Begin to start the workers; the queue must be there."""
        manager: ViewAgentLoopManager = cls.create(config=config, llm_client=SimpleNamespace())
        return manager

    def connect(self, llm_client: LLMServerClient, reward_handles: list[ray.actor.ActorHandle] | None) -> None:
        """Wait for the workers, and give them verl's vLLM servers and reward workers. Raises what stopped a worker."""
        self.llm_client, self.reward_loop_worker_handles = llm_client, reward_handles
        ray.get([worker.connect.remote(llm_client, reward_handles) for worker in self.agent_loop_workers])

    def take_failures(self) -> Counter[str]:
        """How often each reason ended a rollout, in all workers, since the last call."""
        of_workers = ray.get([worker.take_failures.remote() for worker in self.agent_loop_workers])
        return sum(of_workers, Counter())

    def take_unscored(self) -> Counter[str]:
        """How often which limit ended the scoring of an answer, in all workers, since the last call."""
        of_workers = ray.get([worker.take_unscored.remote() for worker in self.agent_loop_workers])
        return sum(of_workers, Counter())
