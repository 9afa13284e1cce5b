"""One Ray cluster of its own per machine: verl's weight transfer would mix up two."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from transfer_queue import interface

from verl_vaopd.config import compose
from verl_vaopd.trainer import session

TINY = ["hardware=cpu", "dataset=tinygeo", "student=tiny", "teacher=tiny"]


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that Ray was started with or connected to."""
    addresses: list[str] = []
    monkeypatch.setattr(session, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(session.ray, "init", lambda **options: addresses.append(options["address"]))
    monkeypatch.setattr(session.ray, "shutdown", lambda: None)
    return addresses


def test_a_second_cluster_is_refused_until_the_first_has_ended(started: list[str]) -> None:
    config = compose(TINY)
    with (
        session.ray_session([config]),
        pytest.raises(ValueError, match="wait for the other one"),
        session.ray_session([config]),
    ):
        raise AssertionError("it started")
    with session.ray_session([config]):
        assert started == ["local", "local"]


def test_a_second_training_in_one_cluster_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known by the queue that TransferQueue itself would look for, and join."""
    asked: list[tuple[str, str]] = []
    running = False

    def get_actor(name: str, namespace: str) -> str:
        asked.append((name, namespace))
        if not running:
            raise ValueError(name)
        return name

    monkeypatch.setattr(session.ray, "get_actor", get_actor)
    monkeypatch.setattr(interface, "_TQ_CONTROLLER", None)
    session.require_own_queue()
    assert not interface._init_from_existing()
    assert asked[0] == asked[1]
    running = True
    with pytest.raises(ValueError, match="another training"):
        session.require_own_queue()


def test_a_run_leaves_no_actor_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither those with a name nor the one without; also of a run that failed before it had all of them."""
    killed: list[str] = []
    monkeypatch.setattr(session.ray.util, "list_named_actors", lambda: ["worker", "ended"])
    monkeypatch.setattr(session.ray, "kill", killed.append)
    monkeypatch.setattr(session.ray, "get_actor", lambda name: name if name == "worker" else int(name))
    trainer = SimpleNamespace(llm_server_manager=SimpleNamespace(global_load_balancer="load balancer"))
    session.release(trainer)
    assert killed == ["worker", "load balancer"]
    session.release(SimpleNamespace())
    session.release(None)
    assert killed == ["worker", "load balancer", "worker", "worker"]
