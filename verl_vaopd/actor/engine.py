"""The student's engine: exact per-token reverse KL to the teacher, from hidden states and LM heads.

VA-OPD (arXiv:2605.21924) Eq. 1: KL(p_S || p_T) over the whole vocabulary, at temperature 1 whatever the sampling
temperature. What each token's KL weighs is not decided here: see algorithms/token_weights.py and actor/loss.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu
from verl.workers.engine import EngineRegistry

from verl_vaopd.actor.nested import flat_values
from verl_vaopd.actor.response_engine import ResponseEngine
from verl_vaopd.algorithms import fused_divergence

MODEL_TYPE = "vaopd_student"
TOKEN_OUTPUTS = ("reverse_kl", "student_log_probs", "student_entropy", "teacher_entropy")
"""Per-token outputs of a forward pass, all float32 nats."""


@EngineRegistry.register(model_type=MODEL_TYPE, backend=["fsdp", "fsdp2"], device=["cuda", "cpu"])
class StudentEngine(ResponseEngine):
    """Trainable student. The worker sets `teacher_head`, and `teacher_hidden_states` before every pass."""

    teacher_head: torch.Tensor
    """[V_T, d_T], frozen, on this rank's device."""
    teacher_hidden_states: list[torch.Tensor]
    """One [T, d_T] per row of this rank's batch, found through the batch's `row_index`."""
    token_outputs: dict[str, torch.Tensor]
    """Detached outputs of the last training batch (TOKEN_OUTPUTS), jagged, in the batch's row order."""

    def prepare_model_inputs(self, micro_batch: TensorDict) -> tuple[dict[str, Any], dict[str, Any]]:
        model_inputs, output_args = super().prepare_model_inputs(micro_batch)
        responses = model_inputs["responses"]
        hidden = [self.teacher_hidden_states[index] for index in micro_batch["row_index"].flatten().tolist()]
        teacher_hidden = torch.cat(hidden).to(responses.positions.device, non_blocking=True)
        if teacher_hidden.shape[0] != responses.positions.shape[0]:
            raise RuntimeError(
                f"the teacher scored {teacher_hidden.shape[0]} response tokens, the student sees "
                f"{responses.positions.shape[0]}: "
                "rows changed between scoring and update"
            )
        responses.extra["teacher_hidden"] = teacher_hidden
        # The loss is sum(token_weights * reverse_kl): knowing its gradient to reverse_kl beforehand saves the fused
        # kernel a second pass over the vocabulary.
        if "token_weights" in micro_batch:
            responses.extra["token_weights"] = flat_values(micro_batch["token_weights"])
        return model_inputs, output_args

    def response_forward(
        self,
        hidden: torch.Tensor,
        head: torch.Tensor,
        token_ids: torch.Tensor,
        extra: dict[str, torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """See ResponseEngine. Gradient flows into `hidden` and `head` through reverse_kl only."""
        output = fused_divergence.reverse_kl_with_statistics(
            hidden,
            head,
            extra["teacher_hidden"],
            self.teacher_head,
            token_ids,
            vocab_size=self.vocab_size,
            expected_grad=extra.get("token_weights"),
        )
        return {
            "reverse_kl": output.divergence,
            "student_log_probs": output.student_log_probs,
            "student_entropy": output.student_entropy,
            "teacher_entropy": output.teacher_entropy,
        }

    def train_batch(self, data: TensorDict, loss_function: Callable) -> Any:
        """One optimizer step. Keeps the per-token outputs, which verl would drop, for metrics and dumps."""
        tu.assign_non_tensor(data, return_model_output=True)
        outputs = super().train_batch(data, loss_function)
        self.token_outputs = outputs["model_output"]
        return outputs
