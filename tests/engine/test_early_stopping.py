"""verl's own loop ends where held-out accuracy no longer rises, and the last step is a validated and saved one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1 import trainer_base

from verl_vaopd.config import compose
from verl_vaopd.runs.checkpoints import checkpoint_path, mark_complete
from verl_vaopd.runs.events import EventLog
from verl_vaopd.trainer import trainer as trainer_module
from verl_vaopd.trainer.trainer import DistillationTrainer
from verl_vaopd.trainer.validation import Validated

TINY = ["hardware=cpu", "dataset=tinygeo", "student=tiny", "teacher=tiny"]
SCHEDULE = ["validation.every=2", "checkpoint.every=2", "trainer.total_training_steps=12"]
COUNTS = {"n_questions": 4, "n_samples": 4, "n_missing": 0, "accuracy_low": 0.0, "accuracy_high": 1.0}


class Steps(DistillationTrainer):
    """verl's `fit` and our validation, with steps that do nothing and accuracies that are given, one per validation."""

    def __init__(self, config: Any, events: EventLog, accuracies: list[float]):
        self.config, self.events, self.accuracies = config, events, iter(accuracies)
        self.checkpoints_dir = events.path.parent / "checkpoints"
        self.dump = SimpleNamespace(write=lambda *_: None)
        self.global_steps, self.total_training_steps, self.steps_per_epoch = 0, 12, 100
        self.trained: list[int] = []

    def step(self, metrics: Any, timing_raw: Any) -> KVBatchMeta:
        self.trained.append(self.global_steps)
        return KVBatchMeta(partition_id="train", keys=[], tags=[])

    def _save_checkpoint(self) -> None:
        path = checkpoint_path(self.checkpoints_dir, self.global_steps)
        path.mkdir(parents=True)
        (path / "data.pt").write_bytes(b"x")
        mark_complete(path)

    def _validation(self) -> Any:
        found = Validated(summaries={"validation": {"accuracy": next(self.accuracies), **COUNTS}})
        return SimpleNamespace(run=lambda global_steps: found)

    def _compute_metrics(self, *_: Any, **__: Any) -> None: ...
    def _start_profiling(self) -> None: ...
    def _stop_profiling(self) -> None: ...
    def _reissue_inflight_prompts(self, partition_id: str = "train") -> int: ...
    def _shutdown_dump_executor(self) -> None: ...
    def on_train_begin(self) -> None: ...
    def on_train_end(self) -> None: ...
    def on_validate_begin(self) -> None: ...
    def on_validate_end(self) -> None: ...
    def on_step_begin(self) -> None: ...
    def on_step_end(self) -> None: ...
    def _consume_sync_metrics(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    ("patience", "last_step", "best"),
    [(None, 12, 10), (1, 6, 4), (2, 8, 4)],
)
def test_training_stops_with_the_patience(tmp_path, monkeypatch, patience, last_step, best):
    """Accuracies at steps 0, 2, ...: 4 is the best of the first five, and 10 better still."""
    for name in ("SkipManager", "Tracking", "ValidationGenerationsLogger", "DapoFilteredRewardTableLogger"):
        stand_in = SimpleNamespace(init=lambda *_: None, set_step=lambda *_: None, log=lambda **_: None)
        monkeypatch.setattr(trainer_base, name, stand_in if name == "SkipManager" else lambda *_, _s=stand_in, **__: _s)
    monkeypatch.setattr(trainer_base.tq, "kv_clear", lambda **_: None)

    monkeypatch.setattr(trainer_module, "write_samples", lambda *_: None)
    stopping = f"validation.patience={'null' if patience is None else patience}"
    config = compose([*TINY, *SCHEDULE, stopping, f"run.dir={tmp_path}"])
    with EventLog(tmp_path / "events.jsonl") as events:
        trainer = Steps(config, events, [0.1, 0.3, 0.5, 0.4, 0.5, 0.9, 0.2])
        trainer.fit(agent_loop_manager=None)
    assert trainer.trained == list(range(1, last_step + 1))
    assert trainer.total_training_steps == last_step
    assert checkpoint_path(trainer.checkpoints_dir, last_step).is_dir()
    assert (trainer.checkpoints_dir / "best").resolve().name == f"global_step_{best}"
    assert ("stopped early" in events.path.read_text()) == (patience is not None)
