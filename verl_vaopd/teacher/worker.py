"""The teacher as a Ray worker: scores rollouts on both views. One class for both placements.

- colocated: the student's worker builds it inside its own process (actor/worker.py), on the actor's GPUs.
- pool: Ray starts it as a worker group on a resource pool of its own (trainer/placement.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf, open_dict
from tensordict import TensorDict
from verl.single_controller.base.decorator import make_nd_compute_dataproto_dispatch_fn, register
from verl.utils import tensordict_utils as tu
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.tensordict_utils import maybe_fix_3d_position_ids
from verl.workers.config import FSDPEngineConfig, TrainingWorkerConfig
from verl.workers.engine_workers import TrainingWorker

from verl_vaopd.engine.fields import PRIVILEGED_INPUTS
from verl_vaopd.engine.views import privileged_view
from verl_vaopd.teacher.engine import MODEL_TYPE


@dataclass
class TeacherWorkerConfig:
    """Everything that a teacher worker is built from; picklable."""

    training: TrainingWorkerConfig
    vocab_size: int


def teacher_worker_config(config: DictConfig, vocab_size: int) -> TeacherWorkerConfig:
    """Teacher settings from the job configuration (`teacher.*`), on the student's model settings.

    Args:
        config: the whole job configuration.
        vocab_size: number of ids of the shared tokenizer.
    """
    teacher = config.teacher
    model = OmegaConf.create(OmegaConf.to_container(config.actor_rollout_ref.model, resolve=True))
    with open_dict(model):
        model.path = teacher.path
        model.hf_config_path = None
        model.tokenizer_path = None
        model.model_type = MODEL_TYPE
        model.enable_gradient_checkpointing = False
        model.enable_activation_offload = False
        model.override_config = {**(model.override_config or {}), "attn_implementation": teacher.attn_implementation}
    engine = FSDPEngineConfig(
        strategy=teacher.strategy,
        forward_only=True,
        param_offload=teacher.param_offload,
        model_dtype=teacher.dtype,
        mixed_precision={"param_dtype": teacher.dtype, "reduce_dtype": "float32", "buffer_dtype": "float32"},
        use_dynamic_bsz=True,
        infer_max_token_len_per_gpu=teacher.max_tokens_per_gpu,
        use_torch_compile=False,
    )
    training = TrainingWorkerConfig(
        model_type=MODEL_TYPE,
        model_config=omega_conf_to_dataclass(model),
        engine_config=engine,
        optimizer_config=None,
        checkpoint_config=omega_conf_to_dataclass(config.actor_rollout_ref.actor.checkpoint),
    )
    return TeacherWorkerConfig(training=training, vocab_size=vocab_size)


class TeacherWorker(TrainingWorker):
    """Frozen teacher on verl's FSDP engine, forward only, micro-batched by token budget."""

    def __init__(self, config: TeacherWorkerConfig):
        super().__init__(config=config.training)
        self.engine.vocab_size = config.vocab_size

    @torch.no_grad()
    def score_rows(self, data: TensorDict) -> dict[str, torch.Tensor]:
        """Score this rank's rows.

        Args:
            data: fields and settings of a ScoreRequest. With `privileged_inputs` the teacher reads these prompts
                instead of the student's.
        Returns: jagged [B, response length(, d)], in row order: `teacher_log_probs` and, as set,
            `degraded_teacher_log_probs` (float32 nats), `teacher_hidden_states` and `degraded_hidden_states` (the
            teacher's dtype).
        """
        maybe_fix_3d_position_ids(data)
        if PRIVILEGED_INPUTS in data:
            data = privileged_view(data)
        config = self.engine_config
        tu.assign_non_tensor(
            data,
            use_remove_padding=config.use_remove_padding,
            use_dynamic_bsz=config.use_dynamic_bsz,
            max_token_len_per_gpu=config.infer_max_token_len_per_gpu,
            use_fused_kernels=False,
            temperature=1.0,
        )
        with self.engine.eval_mode():
            return self.engine.infer_batch(data)["model_output"]

    @register(dispatch_mode=make_nd_compute_dataproto_dispatch_fn(mesh_name="train"))
    def score(self, data: TensorDict) -> TensorDict:
        """`score_rows` over a worker group; the results become fields of the rollouts."""
        return as_fields(self.score_rows(data))


def as_fields(outputs: dict[str, Any]) -> TensorDict:
    """Per-row outputs as the TensorDict that verl's bridge writes back to the queue, on the CPU."""
    return tu.get_tensordict(tensor_dict=outputs).cpu()
