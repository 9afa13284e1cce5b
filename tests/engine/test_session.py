"""One Ray cluster of its own per machine: verl's weight transfer would mix up two."""

from pathlib import Path
from types import SimpleNamespace

import pytest

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


def test_jobs_of_one_running_cluster_have_ids_of_their_own(started: list[str]) -> None:
    config = compose([*TINY, "ray_kwargs.ray_init.address=auto"])
    with session.ray_session([config]), session.ray_session([config]):
        assert started == ["auto", "auto"]


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
