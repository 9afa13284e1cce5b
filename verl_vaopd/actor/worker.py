"""The student's Ray worker: verl's actor + rollout worker, with the teacher's scores at hand.

With a colocated teacher, what is large never leaves the process: the teacher's hidden states and the images that
scoring has fetched are kept here and used by the update of the same rows.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from tensordict import TensorDict
from torch import nn
from verl.single_controller.base.decorator import Dispatch, make_nd_compute_dataproto_dispatch_fn, register
from verl.utils import tensordict_utils as tu
from verl.utils.device import get_device_id
from verl.utils.torch_dtypes import PrecisionType
from verl.workers.engine_workers import ActorRolloutRefWorker

from verl_vaopd.actor.engine import StudentEngine
from verl_vaopd.actor.loss import student_loss
from verl_vaopd.config.objective import Objective
from verl_vaopd.engine import fields
from verl_vaopd.engine.nested import flat_values, rows
from verl_vaopd.teacher import moving_average
from verl_vaopd.teacher.head import load_output_head
from verl_vaopd.teacher.worker import TeacherWorker, TeacherWorkerConfig, as_fields


class StudentWorker(ActorRolloutRefWorker):
    """Trains the student on weighted divergences; hosts the teacher when it is colocated."""

    teacher: TeacherWorker | None = None
    """Only with the colocated placement."""
    _kept: tuple[torch.Tensor, Any] | None = None
    """Token ids and images of the rows that the colocated teacher scored last."""

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def init_distillation(self, config: TeacherWorkerConfig, objective: Objective, colocated: bool) -> None:
        """Load the teacher's head, build the colocated teacher, and put our loss in the place of PPO's."""
        engine = self.student_engine
        engine.vocab_size = config.vocab_size
        engine.objective = objective
        engine.teacher_head = load_output_head(
            config.training.model_config.local_path,
            dtype=PrecisionType.to_dtype(config.training.engine_config.model_dtype),
            device=get_device_id(),
        )
        # verl has bound its own policy loss to the actor's configuration.
        self.actor.set_loss_fn(functools.partial(student_loss, objective=objective, policy_loss=self.loss_fn))
        if self.ref is not None:
            self.ref.engine.vocab_size = config.vocab_size
            self.ref.engine.objective = Objective(policy_temperature=objective.policy_temperature)
            self.ref.engine.inference_outputs = frozenset({fields.POLICY_LOG_PROBS})
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
        hidden = outputs.pop(fields.TEACHER_HIDDEN_STATES, None)
        degraded = outputs.pop(fields.DEGRADED_HIDDEN_STATES, None)
        if hidden is not None:
            self._kept = flat_values(data[fields.INPUT_IDS]), data[fields.IMAGES]
            self.student_engine.teacher_hidden_states = rows(hidden)
            self.student_engine.degraded_hidden_states = None if degraded is None else rows(degraded)
        return as_fields(outputs)

    @register(dispatch_mode=make_nd_compute_dataproto_dispatch_fn(mesh_name="ref"))
    def score_reference(self, data: TensorDict) -> TensorDict:
        """Log-probs by the initial policy, at the sampling temperature, as the field `ref_log_prob`."""
        tu.assign_non_tensor(data, compute_loss=False, temperature=1.0)
        output = self.ref.infer_batch(data)
        return as_fields({fields.REF_LOG_PROB: output[fields.POLICY_LOG_PROBS]})

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
        """The same per-token outputs without a step. `keep` leaves what scoring has kept for another pass."""
        keep = tu.pop(data, key="keep", default=False)
        data = self._with_teacher(data)
        tu.assign_non_tensor(data, compute_loss=False, temperature=1.0)
        output = self.actor.infer_batch(data)
        output.pop("metrics")
        if keep:
            self.student_engine.degraded_hidden_states = None
        else:
            self._release()
        return output

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def update_teacher(self, decay: float) -> None:
        """Move the colocated teacher towards the student: teacher = decay * teacher + (1 - decay) * student."""
        moving_average.update(self._teacher_module, self.student_engine.module, decay)
        self.student_engine.teacher_head = moving_average.full_head(self._teacher_module)

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def save_teacher(self, directory: str) -> None:
        """Write this rank's part of a teacher that moves; a frozen one is its own checkpoint."""
        moving_average.save(self._teacher_module, directory, self.rank, self.world_size)

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def load_teacher(self, directory: str) -> None:
        """Read what save_teacher wrote."""
        moving_average.load(self._teacher_module, directory, self.rank, self.world_size)
        self.student_engine.teacher_head = moving_average.full_head(self._teacher_module)

    @property
    def _teacher_module(self) -> nn.Module:
        assert self.teacher is not None, "the configuration is validated for a colocated teacher"
        return self.teacher.engine.module

    def _with_teacher(self, data: TensorDict) -> TensorDict:
        """The batch with the images, and the engine with the teacher's states, wherever scoring has left them."""
        engine = self.student_engine
        if fields.TEACHER_HIDDEN_STATES in data:
            for name in (fields.TEACHER_HIDDEN_STATES, fields.DEGRADED_HIDDEN_STATES):
                if name in data:
                    setattr(engine, name, [row.to(get_device_id()) for row in rows(data.pop(name))])
        elif self._kept is not None:
            if not torch.equal(self._kept[0], flat_values(data[fields.INPUT_IDS])):
                raise RuntimeError("the rows of this pass are not those that the teacher scored last on this rank")
            data[fields.IMAGES] = self._kept[1]
        data[fields.ROW_INDEX] = torch.arange(data.batch_size[0])
        return data

    def _release(self) -> None:
        self.student_engine.teacher_hidden_states = None
        self.student_engine.degraded_hidden_states = None
        self._kept = None
