"""The student's Ray worker: verl's actor + rollout worker, with the teacher's scores at hand.

With a colocated teacher, what is large never leaves the process: the teacher's hidden states and the images that
scoring has fetched are kept here and used by the update of the same rows.
"""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict
from verl.single_controller.base.decorator import Dispatch, make_nd_compute_dataproto_dispatch_fn, register
from verl.utils import tensordict_utils as tu
from verl.utils.device import get_device_id
from verl.utils.torch_dtypes import PrecisionType
from verl.workers.engine_workers import ActorRolloutRefWorker

from verl_vaopd.actor.engine import StudentEngine
from verl_vaopd.actor.loss import weighted_divergence_loss
from verl_vaopd.actor.nested import flat_values, rows
from verl_vaopd.teacher.head import load_output_head
from verl_vaopd.teacher.worker import TeacherWorker, TeacherWorkerConfig, as_fields

UPDATE_FIELDS = ("input_ids", "position_ids", "response_mask", "loss_mask", "token_weights")
"""Fields that an update reads besides what scoring has left in the process (or, with a teacher pool, in the queue)."""
FORWARD_FIELDS = UPDATE_FIELDS[:-1]
REMOTE_FIELDS = ("multi_modal_inputs", "teacher_hidden_states")
"""What is read in addition when the teacher has a pool of its own."""


class StudentWorker(ActorRolloutRefWorker):
    """Trains the student on weighted divergences; hosts the teacher when it is colocated."""

    teacher: TeacherWorker | None = None
    """Only with the colocated placement."""
    _kept: tuple[torch.Tensor, Any] | None = None
    """Token ids and images of the rows that the colocated teacher scored last."""

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def init_distillation(self, config: TeacherWorkerConfig, colocated: bool) -> None:
        """Load the teacher's head, build the colocated teacher, and put our loss in the place of PPO's."""
        engine = self.student_engine
        engine.vocab_size = config.vocab_size
        engine.teacher_head = load_output_head(
            config.training.model_config.local_path,
            dtype=PrecisionType.to_dtype(config.training.engine_config.model_dtype),
            device=get_device_id(),
        )
        self.actor.set_loss_fn(weighted_divergence_loss)
        if colocated:
            self.teacher = TeacherWorker(config=config)
            self.teacher.reset()
            self.set_dispatch_collect(mesh_name="teacher", **self.teacher.get_dispatch_collect())

    @property
    def student_engine(self) -> StudentEngine:
        """The engine under verl's actor."""
        return self.actor.engine

    @register(dispatch_mode=make_nd_compute_dataproto_dispatch_fn(mesh_name="teacher"))
    def score(self, data: TensorDict) -> TensorDict:
        """Colocated teacher: log-probs go back to the driver, hidden states and images stay for the next pass."""
        assert self.teacher is not None, "with a teacher pool, the pool scores"
        outputs = self.teacher.score_rows(data)
        hidden = outputs.pop("teacher_hidden_states", None)
        if hidden is not None:
            self._kept = flat_values(data["input_ids"]), data["multi_modal_inputs"]
            self.student_engine.teacher_hidden_states = rows(hidden)
        return as_fields(outputs)

    @register(dispatch_mode=make_nd_compute_dataproto_dispatch_fn(mesh_name="actor"))
    def update_actor(self, data: TensorDict) -> TensorDict:
        """One optimizer step on this rank's rows, as verl's, with what scoring has kept."""
        output = super().update_actor(self._with_teacher(data))
        self._release()
        return output

    @register(dispatch_mode=make_nd_compute_dataproto_dispatch_fn(mesh_name="actor"))
    def token_outputs(self, data: TensorDict) -> TensorDict:
        """Per-token outputs of the last update, as fields of the same rows (`data` only names them)."""
        return as_fields(self.student_engine.token_outputs)

    @register(dispatch_mode=make_nd_compute_dataproto_dispatch_fn(mesh_name="actor"))
    def forward_tokens(self, data: TensorDict) -> TensorDict:
        """The same per-token outputs without a step: for dumps of held-out rollouts."""
        data = self._with_teacher(data)
        tu.assign_non_tensor(data, compute_loss=False, temperature=1.0)
        output = self.actor.infer_batch(data)
        output.pop("metrics")
        self._release()
        return output

    def _with_teacher(self, data: TensorDict) -> TensorDict:
        if self.teacher is None:
            hidden = data.pop("teacher_hidden_states")
            self.student_engine.teacher_hidden_states = [row.to(get_device_id()) for row in rows(hidden)]
        else:
            if self._kept is None or not torch.equal(self._kept[0], flat_values(data["input_ids"])):
                raise RuntimeError("the rows of this pass are not those that the teacher scored last on this rank")
            data["multi_modal_inputs"] = self._kept[1]
        data["row_index"] = torch.arange(data.batch_size[0])
        return data

    def _release(self) -> None:
        self.student_engine.teacher_hidden_states = []
        self._kept = None
