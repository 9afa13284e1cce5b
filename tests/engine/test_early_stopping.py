"""verl's own loop ends where held-out accuracy no longer rises, or the data end; the last step is validated and saved.

Of all checkpoints the best and the newest are left.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1 import trainer_base

from verl_vaopd.config import compose
from verl_vaopd.config.objective import Objective
from verl_vaopd.runs.checkpoints import checkpoint_path, complete_steps
from verl_vaopd.runs.events import EventLog, validations
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
        self.objective, self.val_dataset = Objective.from_config(config), range(4)
        self.ending = "all steps"
        self.global_steps, self.total_training_steps = 0, 12
        self.checkpoint_manager = SimpleNamespace(update_weights=lambda *_: None)
        self.trained: list[int] = []
        self.tokenizer = range(1000)  # of which its length is asked

    def step(self, metrics: Any, timing_raw: Any) -> KVBatchMeta:
        self.trained.append(self.global_steps)
        return KVBatchMeta(partition_id="train", keys=[], tags=[])

    def _validation(self) -> Any:
        found = Validated(summaries={"validation": {"accuracy": next(self.accuracies), **COUNTS}})
        return SimpleNamespace(run=lambda global_steps: found)

    def _preflight(self) -> Any:
        return SimpleNamespace(before_training=lambda step: None)

    def _compute_metrics(self, *_: Any, **__: Any) -> None: ...
    def _start_profiling(self) -> None: ...
    def _stop_profiling(self) -> None: ...
    def _reissue_inflight_prompts(self, partition_id: str = "train") -> int: ...
    def _shutdown_dump_executor(self) -> None: ...
    def on_train_begin(self) -> None: ...
    def on_train_end(self) -> None: ...
    def on_validate_begin(self) -> None: ...
    def on_validate_end(self) -> None: ...
    def _consume_sync_metrics(self) -> dict[str, Any]:
        return {}


def write_files(trainer: Steps) -> None:
    """What is left of verl's saving."""
    path = checkpoint_path(trainer.checkpoints_dir, trainer.global_steps)
    path.mkdir(parents=True)
    (path / "data.pt").write_bytes(b"x")


@pytest.fixture
def fitted(tmp_path, monkeypatch):
    """fitted(*overrides, steps_per_epoch=100): a trainer that has been through verl's loop."""
    for name in ("SkipManager", "Tracking", "ValidationGenerationsLogger", "DapoFilteredRewardTableLogger"):
        stand_in = SimpleNamespace(init=lambda *_: None, set_step=lambda *_: None, log=lambda **_: None)
        stand_in.finish = lambda **_: None
        monkeypatch.setattr(trainer_base, name, stand_in if name == "SkipManager" else lambda *_, _s=stand_in, **__: _s)
    monkeypatch.setattr(trainer_base.tq, "kv_clear", lambda **_: None)
    monkeypatch.setattr(trainer_base.PPOTrainer, "_save_checkpoint", write_files)
    monkeypatch.setattr(trainer_module, "write_samples", lambda *_: None)

    def fit(*overrides, steps_per_epoch=100):
        config = compose([*TINY, *SCHEDULE, f"run.dir={tmp_path}", *overrides])
        with EventLog(tmp_path / "events.jsonl") as events:
            trainer = Steps(config, events, [0.1, 0.3, 0.5, 0.4, 0.5, 0.9, 0.2])
            trainer.steps_per_epoch = steps_per_epoch
            trainer._set_last_step()
            trainer.fit(agent_loop_manager=None)
        return trainer

    return fit


@pytest.mark.parametrize(
    ("patience", "last_step", "best", "keep", "kept"),
    [
        ("null", 12, 10, None, [10, 12]),
        ("null", 12, 10, "null", [2, 4, 6, 8, 10, 12]),
        (1, 6, 4, None, [4, 6]),
        (2, 8, 4, None, [4, 6, 8]),
        (2, 8, 4, 1, [4, 8]),
    ],
)
def test_training_stops_with_the_patience(fitted, patience, last_step, best, keep, kept):
    """Accuracies at steps 0, 2, ...: 4 is the best of the first five, and 10 better still."""
    keeping = [] if keep is None else [f"checkpoint.keep={keep}"]
    trainer = fitted(f"validation.patience={patience}", *keeping)
    assert trainer.trained == list(range(1, last_step + 1))
    assert trainer.total_training_steps == trainer.last_step == last_step
    assert checkpoint_path(trainer.checkpoints_dir, last_step).is_dir()
    assert (trainer.checkpoints_dir / "best").resolve().name == f"global_step_{best}"
    assert complete_steps(trainer.checkpoints_dir) == kept
    told = f"stopped early at step {last_step}: no gain in {patience} checks"
    assert trainer.ending == ("all steps" if patience == "null" else told)
    assert ("stopped early" in trainer.events.path.read_text()) == (patience != "null")


def test_data_that_end_early_end_a_training_that_is_validated_and_saved(fitted):
    """Two epochs of 3 steps, though the configuration asks for 12 steps."""
    trainer = fitted("trainer.total_epochs=2", "validation.every=4", "checkpoint.every=4", steps_per_epoch=3)
    assert trainer.trained == list(range(1, 7)) and trainer.last_step == 6
    assert [event["step"] for event in validations(trainer.events.path)] == [0, 4, 6]
    assert checkpoint_path(trainer.checkpoints_dir, 6).is_dir()
    assert trainer.ending == "the data ended at step 6 of 12" and trainer.ending in trainer.events.path.read_text()


def test_the_last_step_is_validated_though_no_other_is(fitted):
    trainer = fitted("validation.every=-1", "checkpoint.every=-1", "validation.before_train=false")
    assert trainer.trained == list(range(1, 13))
    assert [event["step"] for event in validations(trainer.events.path)] == [12]
