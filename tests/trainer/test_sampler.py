"""The sampler is built by verl's own seam, and waits in small steps for exactly the rollouts of the batch."""

import types
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from verl_vaopd.platform import activate

CONFIG = OmegaConf.create(
    {
        "trainer": {
            "v1": {
                "sync": {},
                "sampler": {
                    "max_off_policy_threshold": None,
                    "max_off_policy_strategy": "drop",
                    "sampler_kwargs": {},
                    "custom_sampler": {"path": "pkg://verl_vaopd.trainer.sampler", "name": "PromptReplayBuffer"},
                },
            }
        }
    }
)


@pytest.fixture(autouse=True)
def importable_verl_trainer() -> None:
    activate()


def build(config: DictConfig) -> Any:
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

    trainer = types.SimpleNamespace(
        config=config,
        trainer_mode="sync",
        _add_prompts_to_generate=None,
        _resolve_filter_groups_metric=lambda: None,
    )
    return PPOTrainer._build_replay_buffer(trainer)


def queue(done: int) -> dict:
    """Two prompts of two rollouts each, of which the first `done` prompts are finished."""
    items: dict[str, dict] = {}
    for index, uid in enumerate(("a", "b")):
        items[uid] = {"is_prompt": True, "global_steps": 1, "status": "finished" if index < done else "running"}
        if index < done:
            items |= {f"{uid}_0_0": {"tag": uid}, f"{uid}_1_0": {"tag": uid}}
    return {"train": items}


def test_waits_in_small_steps_until_all_prompts_are_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    from verl.trainer.ppo.v1 import replay_buffer

    answers = iter([queue(0), queue(1), queue(1), queue(2)])
    slept: list[float] = []
    cleared: list[str] = []
    monkeypatch.setattr(replay_buffer.tq, "kv_list", lambda: next(answers))
    monkeypatch.setattr(replay_buffer.tq, "kv_clear", lambda partition_id, keys: cleared.extend(keys))
    monkeypatch.setattr(replay_buffer.time, "sleep", slept.append)

    batch, metrics = build(CONFIG).sample(global_steps=1, partition_id="train", batch_size=2)

    assert slept == [0.05] * 3
    assert sorted(batch.keys) == ["a_0_0", "a_1_0", "b_0_0", "b_1_0"]
    assert sorted(cleared) == ["a", "b"]
    assert metrics == {}


def test_a_batch_of_which_nothing_has_arrived_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """verl ends the run there, and knows no reason; another of its errors is passed on."""
    from verl.trainer.ppo.v1 import replay_buffer

    failed = {uid: {"is_prompt": True, "global_steps": 1, "status": "failure"} for uid in ("a", "b")}
    monkeypatch.setattr(replay_buffer.tq, "kv_list", lambda: {"train": failed})
    batch, metrics = build(CONFIG).sample(global_steps=1, partition_id="train", batch_size=2)
    assert (batch.keys, batch.partition_id, metrics) == ([], "train", {})
    monkeypatch.setattr(replay_buffer.tq, "kv_list", lambda: (_ for _ in ()).throw(RuntimeError("no queue")))
    with pytest.raises(RuntimeError, match="no queue"):
        build(CONFIG).sample(global_steps=1, partition_id="train", batch_size=2)


def test_verl_alone_still_sleeps_two_seconds() -> None:
    """Where this fails, verl has mended its interval: drop the sampler."""
    config = OmegaConf.merge(CONFIG, {"algorithm": {}, "data": {"train_batch_size": 2}})
    config.trainer.v1.sampler.custom_sampler = None
    assert build(config).poll_interval == 2.0
