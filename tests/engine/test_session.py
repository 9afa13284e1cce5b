"""One training per machine: verl's weight transfer would mix up two. And what its workers inherit."""

import inspect
import os
import shutil
import sysconfig
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
from omegaconf import OmegaConf
from transfer_queue import interface

from verl_vaopd.config import compose
from verl_vaopd.trainer import session

CANARY = "hf_canary-4f1d"
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
    in_a_cluster = compose([*TINY, "ray_kwargs.ray_init.address=10.0.0.1:6379"])
    for second in (config, in_a_cluster):
        with (
            session.ray_session([config]),
            pytest.raises(ValueError, match="wait for the other one"),
            session.ray_session([second]),
        ):
            raise AssertionError("it started")
    with session.ray_session([in_a_cluster]):
        assert started == ["local", "local", "10.0.0.1:6379"]


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


@pytest.mark.slow
def test_a_worker_finds_the_programs_of_this_environment_on_a_node_that_does_not_know_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on another node, nothing is inherited here: what a worker has came by Ray's runtime_env, or by its hook."""
    ray_files = Path(tempfile.mkdtemp(dir="/tmp"))  # short enough for Ray's sockets
    own = tmp_path / "programs-of-the-node"
    node_path = os.pathsep.join([str(own), "/usr/bin", "/bin"])
    monkeypatch.setenv("PATH", node_path)
    monkeypatch.delenv("VLLM_USE_FLASHINFER_SAMPLER", raising=False)
    config = compose([*TINY, "ray_kwargs.ray_init.num_cpus=1"])
    OmegaConf.resolve(config.ray_kwargs)
    # As of a cluster that is there already; started here all the same, without the secret.
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setenv("HF_TOKEN", CANARY)
    options = session.ray_options(config, {"env_vars": {"OF_VERL": "1"}})
    assert options["address"] == "10.0.0.1:6379"
    for name in ("RAY_ADDRESS", "HF_TOKEN"):
        monkeypatch.delenv(name)

    @ray.remote
    def environment() -> tuple[dict[str, str], str | None]:
        return dict(os.environ), shutil.which("vaopd")

    ray.init(**options | {"address": "local", "_temp_dir": str(ray_files)})
    try:
        # Of an actor that brings variables of its own, as verl's do.
        own = environment.options(runtime_env={"env_vars": {"OWN": "1"}})
        (seen, program), (seen_with_own, _) = ray.get([environment.remote(), own.remote()])
    finally:
        ray.shutdown()
    assert seen["HF_TOKEN"] == seen_with_own["HF_TOKEN"] == CANARY
    logs = [path for path in ray_files.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any(b"OF_VERL" in path.read_bytes() for path in logs)  # Ray writes what it is given openly
    assert [path for path in logs if CANARY.encode() in path.read_bytes()] == []
    scripts = sysconfig.get_path("scripts")
    assert program == f"{scripts}/vaopd"
    # First, so that no other ninja is found; and the node's own stay.
    assert seen["PATH"].startswith(f"{scripts}{os.pathsep}") and seen["PATH"].endswith(node_path)
    assert (seen["VLLM_USE_FLASHINFER_SAMPLER"], seen["OF_VERL"], seen["TRANSFER_QUEUE_ENABLE"]) == ("0", "1", "1")


def test_a_path_that_the_person_gives_ray_wins() -> None:
    config = compose([*TINY, "+ray_kwargs.ray_init.runtime_env={env_vars:{PATH:/theirs}}"])
    assert session.ray_options(config, {"env_vars": {}})["runtime_env"]["env_vars"]["PATH"] == "/theirs"


def test_a_hook_of_the_persons_own_is_refused_in_a_running_cluster() -> None:
    hook = f"+ray_kwargs.ray_init.runtime_env.{session.HOOK}=mine.setup"
    assert session.HOOK in session.ray_options(compose([*TINY, hook]), {})["runtime_env"]
    with pytest.raises(ValueError, match=r"got mine\.setup, expected none in a running cluster"):
        session.ray_options(compose([*TINY, hook, "ray_kwargs.ray_init.address=auto"]), {})


def test_the_cluster_is_the_configurations_or_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def address(*overrides: str) -> str:
        return session.ray_options(compose([*TINY, *overrides]), {})["address"]

    assert address() == "local"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")  # as launch/slurm.sh and a Ray job set it
    assert address() == "10.0.0.1:6379"
    assert address("ray_kwargs.ray_init.address=10.0.0.2:6379") == "10.0.0.2:6379"
    assert address("ray_kwargs.ray_init.address=local") == "local"


def test_the_dashboard_listens_on_this_machine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reaches it runs code. Whatever Ray's default becomes."""
    assert session.ray_options(compose(TINY), {})["dashboard_host"] == "127.0.0.1"
    assert inspect.signature(ray.init).parameters["dashboard_host"].default in ("127.0.0.1", "::1", "localhost")
