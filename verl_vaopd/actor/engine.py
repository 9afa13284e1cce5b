"""The student's engine: per-token divergences and log-probs from hidden states and LM heads, as the objective asks.

VA-OPD (arXiv:2605.21924) Eq. 1: KL(p_S || p_T) over the whole vocabulary, at the divergence's temperature whatever that
of sampling. What each token's divergence weighs is not decided here: see algorithms/token_weights.py and actor/loss.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu
from verl.workers.engine import EngineRegistry

from verl_vaopd.algorithms.divergences import NLL, ReverseKL, SampledDivergence, VocabularyDivergence
from verl_vaopd.algorithms.fused_divergence import fused_divergence, token_log_probs_with_entropy
from verl_vaopd.config.objective import Objective
from verl_vaopd.engine import fields
from verl_vaopd.engine.nested import flat_values
from verl_vaopd.engine.response_engine import ResponseEngine
from verl_vaopd.engine.views import other_view

MODEL_TYPE = "vaopd_student"


@EngineRegistry.register(model_type=MODEL_TYPE, backend=["fsdp", "fsdp2"], device=["cuda", "cpu"])
class StudentEngine(ResponseEngine):
    """Trainable student, and the frozen reference policy. The worker sets the attributes below."""

    objective: Objective = Objective()
    teacher_head: torch.Tensor
    """[V_T, d_T], frozen, on this rank's device."""
    teacher_hidden_states: list[torch.Tensor] | None = None
    """One [T, d_T] per row of this rank's batch, found through the batch's `row_index`; None: nobody scored it."""
    degraded_hidden_states: list[torch.Tensor] | None = None
    """The same of the degraded view; only for a visual advantage of the whole distribution."""
    token_outputs: dict[str, torch.Tensor]
    """Detached outputs of the last training batch, jagged, in the batch's row order."""
    inference_outputs: frozenset[str] = frozenset()
    """What passes without a loss yield besides fields.STUDENT_OUTPUTS and TEACHER_OUTPUTS."""
    _wanted: frozenset[str] = frozenset()
    """Of `divergence` and `policy_log_probs`, those that the current pass needs."""

    def prepare_model_inputs(self, micro_batch: TensorDict) -> tuple[dict[str, Any], dict[str, Any]]:
        model_inputs, output_args = super().prepare_model_inputs(micro_batch)
        responses = model_inputs["responses"]
        kept = {"teacher_hidden": self.teacher_hidden_states, "degraded_hidden": self.degraded_hidden_states}
        for name, states in kept.items():
            if states is None:
                continue
            hidden = torch.cat([states[index] for index in micro_batch[fields.ROW_INDEX].flatten().tolist()])
            if len(hidden) != len(responses.positions):
                raise RuntimeError(
                    f"the teacher scored {len(hidden)} response tokens, the student sees {len(responses.positions)}: "
                    "rows changed between scoring and update"
                )
            responses.extra[name] = hidden.to(responses.positions.device, non_blocking=True)
        # The loss is sum(token_weights * divergence): knowing its gradient to the divergence beforehand saves the
        # fused kernel a second pass over the vocabulary.
        for name in {fields.TOKEN_WEIGHTS, fields.TEACHER_LOG_PROBS} & set(micro_batch.keys()):
            responses.extra[name] = flat_values(micro_batch[name])
        return model_inputs, output_args

    def response_forward(
        self,
        hidden: torch.Tensor,
        head: torch.Tensor,
        token_ids: torch.Tensor,
        extra: dict[str, torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """See ResponseEngine. Gradient flows into `hidden` and `head` through divergence and policy_log_probs."""
        objective = self.objective
        outputs: dict[str, torch.Tensor] = {}
        if "teacher_hidden" in extra:
            outputs |= self._against_teacher(hidden, head, token_ids, extra)
        sampled = objective.divergence if fields.DIVERGENCE in self._wanted else None
        # The sampled tokens' log-probs with gradient, by temperature.
        temperatures: set[float] = set()
        if isinstance(sampled, SampledDivergence):
            temperatures.add(sampled.temperature)
        if fields.POLICY_LOG_PROBS in self._wanted:
            temperatures.add(objective.policy_temperature)
        if outputs.keys().isdisjoint(fields.STUDENT_OUTPUTS):
            temperatures.add(1.0)
        log_probs: dict[float, torch.Tensor] = {}
        for temperature in temperatures:
            log_probs[temperature], entropy = token_log_probs_with_entropy(
                hidden,
                head,
                token_ids,
                vocab_size=self.vocab_size,
                temperature=temperature,
                # Of the log-likelihood; the gradient to a policy's log-probs is not known yet.
                expected_grad=extra.get(fields.TOKEN_WEIGHTS) if isinstance(objective.divergence, NLL) else None,
            )
            if temperature == 1:
                outputs[fields.STUDENT_LOG_PROBS] = log_probs[temperature].detach()
                outputs[fields.STUDENT_ENTROPY] = entropy
        if fields.DIVERGENCE in self._wanted:
            divergence = outputs.get(fields.DIVERGENCE)
            if divergence is None:
                assert isinstance(sampled, SampledDivergence), "the others need the teacher's states"
                teacher_log_probs = self._teacher_log_probs(sampled, token_ids, extra)
                divergence = sampled.of_tokens(log_probs[sampled.temperature], teacher_log_probs)
            limit = objective.token_clip
            outputs[fields.DIVERGENCE] = divergence if limit is None else divergence.clamp_max(limit)
        if fields.POLICY_LOG_PROBS in self._wanted:
            outputs[fields.POLICY_LOG_PROBS] = log_probs[objective.policy_temperature]
        return outputs

    @torch.no_grad()
    def _teacher_log_probs(
        self, divergence: SampledDivergence, token_ids: torch.Tensor, extra: dict[str, torch.Tensor]
    ) -> torch.Tensor | None:
        """[N] at the divergence's temperature; the teacher has scored at 1."""
        if divergence.temperature == 1 or not divergence.needs_teacher:
            return extra.get(fields.TEACHER_LOG_PROBS)
        log_probs, _ = token_log_probs_with_entropy(
            extra["teacher_hidden"],
            self.teacher_head,
            token_ids,
            vocab_size=self.vocab_size,
            temperature=divergence.temperature,
        )
        return log_probs

    def _against_teacher(
        self, hidden: torch.Tensor, head: torch.Tensor, token_ids: torch.Tensor, extra: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """What the whole distributions give: statistics, and the divergence if it is one over the vocabulary."""
        divergence = self.objective.divergence
        if fields.DIVERGENCE not in self._wanted or not isinstance(divergence, VocabularyDivergence):
            divergence = None
        with torch.set_grad_enabled(torch.is_grad_enabled() and divergence is not None):
            fused = fused_divergence(
                divergence or ReverseKL(),
                hidden,
                head,
                extra["teacher_hidden"],
                self.teacher_head,
                token_ids,
                vocab_size=self.vocab_size,
                expected_grad=extra.get(fields.TOKEN_WEIGHTS),
            )
        outputs = fused._asdict()
        if divergence is None:
            del outputs[fields.DIVERGENCE]
        if "degraded_hidden" in extra:
            with torch.no_grad():
                outputs[fields.DEGRADED_REVERSE_KL] = fused_divergence(
                    ReverseKL(), hidden, head, extra["degraded_hidden"], self.teacher_head, vocab_size=self.vocab_size
                ).divergence
        return outputs

    def forward_step(
        self, micro_batch: TensorDict, loss_function: Callable | None, forward_only: bool
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """verl's, after a pass over the masked images where the objective has one (PAPO, arXiv:2507.06448).

        With one optimizer step per batch every micro-batch still sees the policy before the update, so the masked
        log-probs are those of the public code, which computes them once before.
        """
        objective = self.objective
        if objective.needs_masked_view and not forward_only:
            kept: dict[str, torch.Tensor] = {}

            def keep(model_output: dict[str, torch.Tensor], **_: Any) -> tuple[torch.Tensor, dict[str, Any]]:
                kept.update(model_output)
                return torch.zeros(()), {}

            self._wanted = frozenset({fields.POLICY_LOG_PROBS})
            with torch.set_grad_enabled(objective.masked_gradient):
                super().forward_step(other_view(micro_batch, fields.MASKED_INPUTS), keep, forward_only)
            micro_batch = micro_batch.copy()
            micro_batch[fields.MASKED_LOG_PROBS] = kept[fields.POLICY_LOG_PROBS]
        self._wanted = self.inference_outputs if forward_only else objective.outputs
        return super().forward_step(micro_batch, loss_function, forward_only)

    def train_batch(self, data: TensorDict, loss_function: Callable) -> Any:
        """One optimizer step. Keeps the per-token outputs, which verl would drop, for metrics and dumps."""
        tu.assign_non_tensor(data, return_model_output=True)
        outputs = super().train_batch(data, loss_function)
        self.token_outputs = outputs["model_output"]
        return outputs
