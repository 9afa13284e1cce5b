"""FSDP engine whose forward pass yields final hidden states of the response tokens instead of logits.

verl's engine materialises [tokens, vocabulary] logits for prompt and response alike. Distillation needs
neither: the exact KL is computed in chunks from hidden states and LM heads (algorithms/fused_divergence.py), and
only where the response is. Student and teacher engines share this base and differ in what they do with the
hidden states.

Axes: B rollouts, S prompt + response tokens, N response tokens of the whole micro-batch, d hidden, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import torch
from tensordict import TensorDict
from torch import nn
from verl.workers.config import FSDPEngineConfig
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

from verl_vaopd.engine.fields import INPUT_IDS, RESPONSE_MASK
from verl_vaopd.engine.nested import flat_values, row_lengths


class ResponseInputs:
    """What the root forward needs besides verl's model inputs.

    Not a dataclass: FSDP casts every floating-point tensor that it finds in the forward's arguments, dataclasses
    included, to the parameters' dtype. Token weights in bfloat16 would not be those of the loss.

    Attributes:
        positions: [N] int64: where, in the flattened batch, the states lie that predict the response tokens.
        token_ids: [N] int64: the response tokens.
        extra: keyword arguments of the subclass's `response_forward`.
    """

    def __init__(self, positions: torch.Tensor, token_ids: torch.Tensor):
        self.positions = positions
        self.token_ids = token_ids
        self.extra: dict[str, torch.Tensor] = {}


class ResponseEngine(FSDPEngineWithLMHead):
    """Base of the engines of student, reference policy and teacher. Subclasses implement `response_forward`."""

    engine_config: FSDPEngineConfig
    vocab_size: int
    """Number of ids of the tokenizer; padded rows of the LM heads beyond it are excluded. Set by the worker."""

    def response_forward(
        self, hidden: torch.Tensor, head: torch.Tensor, token_ids: torch.Tensor, extra: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Turn hidden states into per-token outputs, inside the head's forward (where FSDP has gathered it).

        Args:
            hidden: [N, d], states that predict `token_ids`; gradient flows when training.
            head: [V, d], this model's LM head.
            token_ids: [N] int64, the response tokens.
            extra: `ResponseInputs.extra`, as the subclass filled it in `prepare_model_inputs`.
        Returns: tensors whose first axis is N.
        """
        raise NotImplementedError

    def _build_module(self) -> nn.Module:
        # verl's loader knows two model types; ours only selects the engine in the registry.
        self.model_config.model_type = "language_model"
        module = super()._build_module()
        if getattr(module.lm_head, "bias", None) is not None:
            raise ValueError(
                f"the LM head of {self.model_config.local_path} has a bias; the fused KL supports bias-free heads only"
            )
        # Set on the instances, before FSDP wraps them. FSDP2 gives an untied head a unit of its own, whose weight is
        # gathered, and whose gradient is reduced, only around a call of that very module.
        module.lm_head.forward = functools.partial(self._forward_head, module.lm_head)
        module.forward = functools.partial(self._forward_responses, module)
        return module

    def _build_fsdp_module(self, module: nn.Module) -> nn.Module:
        config = self.engine_config
        if not config.forward_only:
            return super()._build_fsdp_module(module)
        # verl offloads every forward-only engine to the CPU, which a machine without a GPU cannot. Whether the shards
        # of a frozen model live on the GPU is a switch (param_offload): an 8B teacher in bf16 over 8 GPUs takes 2 GB.
        self.engine_config = dataclasses.replace(config, forward_only=False, offload_policy=config.param_offload)
        try:
            return super()._build_fsdp_module(module.requires_grad_(False))
        finally:
            self.engine_config = config

    def _forward_responses(
        self, module: nn.Module, *, input_ids: torch.Tensor, responses: ResponseInputs, **inputs: Any
    ) -> dict[str, torch.Tensor]:
        hidden = module.model(input_ids=input_ids, **inputs)[0]
        return module.lm_head(hidden.flatten(0, 1).index_select(0, responses.positions), responses)

    def _forward_head(
        self, head: nn.Module, hidden: torch.Tensor, responses: ResponseInputs
    ) -> dict[str, torch.Tensor]:
        # Matmuls already run in the parameters' dtype and the softmax in float32: autocast could only spoil that.
        with torch.autocast(device_type=hidden.device.type, enabled=False):
            return self.response_forward(hidden, head.weight, responses.token_ids, responses.extra)

    def prepare_model_inputs(self, micro_batch: TensorDict) -> tuple[dict[str, Any], dict[str, Any]]:
        """verl's inputs, plus where the response tokens are. Sequence parallelism is rejected by the configuration."""
        model_inputs, output_args = super().prepare_model_inputs(micro_batch)
        # Without an attention mask verl has packed all rows into one.
        padded_width = None if model_inputs["attention_mask"] is None else model_inputs["input_ids"].shape[1]
        model_inputs["responses"] = ResponseInputs(*response_positions(micro_batch, padded_width))
        return model_inputs, output_args

    def prepare_model_outputs(
        self, output: dict[str, torch.Tensor], output_args: dict, micro_batch: TensorDict, logits_processor_func: Any
    ) -> dict[str, torch.Tensor]:
        """Cut the flat outputs back into rows: each value is a jagged nested tensor [B, response length, ...]."""
        lengths = row_lengths(micro_batch[RESPONSE_MASK])
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        return {key: torch.nested.nested_tensor_from_jagged(value, offsets) for key, value in output.items()}


def response_positions(micro_batch: TensorDict, padded_width: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the states that predict the response tokens lie in the flattened batch, and those tokens.

    Args:
        micro_batch: `input_ids` nested [B, S] (prompt then response), `response_mask` nested [B, response length].
        padded_width: S of the right-padded batch, or None for rows packed back to back.
    Returns: positions [N] and token_ids [N], int64. Entry i of a row predicts its token i + 1.
    """
    input_ids = micro_batch[INPUT_IDS]
    ends = input_ids.offsets()[1:]
    lengths = row_lengths(micro_batch[RESPONSE_MASK]).to(ends.device)
    rows = torch.repeat_interleave(torch.arange(len(lengths), device=ends.device), lengths)
    within = torch.arange(len(rows), device=ends.device) - (lengths.cumsum(0) - lengths)[rows]
    packed = (ends - lengths)[rows] + within
    token_ids = flat_values(input_ids)[packed]
    if padded_width is None:
        return packed - 1, token_ids
    return packed - 1 - input_ids.offsets()[:-1][rows] + rows * padded_width, token_ids
