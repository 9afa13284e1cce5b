"""The teacher's engine: one forward pass per view of the image, no gradient, no optimizer.

VA-OPD (arXiv:2605.21924) Eq. 2 needs the teacher's log-probability of each sampled token under the clean and under
the degraded image; the exact KL (Eq. 1) needs the teacher's whole distribution under the clean image, which its
final hidden states and its LM head determine.
"""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu
from verl.workers.engine import EngineRegistry

from verl_vaopd.algorithms.fused_divergence import token_log_probs
from verl_vaopd.engine import fields
from verl_vaopd.engine.response_engine import ResponseEngine
from verl_vaopd.engine.views import other_view

MODEL_TYPE = "vaopd_teacher"


@EngineRegistry.register(model_type=MODEL_TYPE, backend=["fsdp", "fsdp2"], device=["cuda", "cpu"])
class TeacherEngine(ResponseEngine):
    """Frozen teacher. Outputs per row: those fields that the teacher writes, as asked for."""

    def response_forward(
        self, hidden: torch.Tensor, head: torch.Tensor, token_ids: torch.Tensor, extra: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """`log_probs` [N] float32 nats at temperature 1, and `hidden_states` [N, d]."""
        log_probs = token_log_probs(hidden, head, token_ids, vocab_size=self.vocab_size)
        return {"log_probs": log_probs, "hidden_states": hidden}

    @torch.no_grad()
    def forward_step(
        self, micro_batch: TensorDict, loss_function: None, forward_only: bool
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """Both views of one micro-batch; what is asked for are batch-level settings (ScoreRequest.settings)."""
        loss, output = super().forward_step(micro_batch, None, forward_only)
        clean = output["model_output"]
        scores = {fields.TEACHER_LOG_PROBS: clean["log_probs"]}
        if tu.get_non_tensor_data(micro_batch, key="keep_hidden_states", default=None):
            scores[fields.TEACHER_HIDDEN_STATES] = clean["hidden_states"]
        if tu.get_non_tensor_data(micro_batch, key="degraded_view", default=None):
            _, degraded = super().forward_step(other_view(micro_batch, fields.DEGRADED_INPUTS), None, forward_only)
            scores[fields.DEGRADED_TEACHER_LOG_PROBS] = degraded["model_output"]["log_probs"]
            if tu.get_non_tensor_data(micro_batch, key="keep_degraded_hidden_states", default=None):
                scores[fields.DEGRADED_HIDDEN_STATES] = degraded["model_output"]["hidden_states"]
        output["model_output"] = scores
        return loss, output
