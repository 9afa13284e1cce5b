"""What a training tells when it goes on from a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

from verl_vaopd.runs import events
from verl_vaopd.runs.events import EventLog
from verl_vaopd.trainer.checkpointing import CheckpointedTrainer


@pytest.mark.parametrize(("reported", "told"), [([1, 2, 3, 4], []), ([1, 3, 4], ["2"]), ([], ["1, 2, 3"])])
def test_steps_whose_metrics_are_lost_are_told(
    reported: list[int], told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run that goes on after step 3; an earlier launch may have come to step 4."""
    monkeypatch.setattr(PPOTrainerSync, "_load_checkpoint", lambda self: setattr(self, "global_steps", 3))
    trainer = object.__new__(CheckpointedTrainer)
    trainer.config = OmegaConf.create({"trainer": {}})
    trainer.checkpoints_dir = tmp_path / "checkpoints"
    with EventLog(tmp_path / "events.jsonl") as trainer.events:
        for step in reported:
            trainer.events.write("step", step=step, total=9, metrics={})
        trainer._load_checkpoint()
    warnings = [event["text"] for event in events.read(tmp_path / "events.jsonl") if event["kind"] == "warning"]
    assert [text.split(" are lost")[0] for text in warnings] == [f"the metrics of step {steps}" for steps in told]
