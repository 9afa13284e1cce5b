"""A training does not outlive a node of its cluster or an actor of its own, and says which one it was."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from verl_vaopd.trainer.watch import PartLost, Watch

ACTORS = {"1": "SimpleStorageUnit on 10.0.0.1", "2": "WorkerDict on 10.0.0.2"}
LOST = "the Ray cluster lost 10.0.0.2, of the 2 nodes that this run began with"


class Cluster:
    """Two nodes, until one is lost."""

    def __init__(self) -> None:
        self.nodes = {"a": "10.0.0.1", "b": "10.0.0.2"}

    def __call__(self) -> dict[str, str]:
        return dict(self.nodes)

    def lose(self) -> None:
        del self.nodes["b"]


def test_one_that_waits_for_ever_is_ended() -> None:
    cluster = Cluster()
    before = signal.getsignal(signal.SIGUSR1)
    with pytest.raises(PartLost, match=LOST), Watch(cluster, dict, 0.01):
        cluster.lose()
        threading.Event().wait(60)
    assert signal.getsignal(signal.SIGUSR1) is before


def test_an_error_that_comes_first_is_its_cause() -> None:
    cluster = Cluster()
    with pytest.raises(PartLost, match=rf"{LOST}; first to fail: The actor died") as error, Watch(cluster, dict):
        cluster.lose()
        raise RuntimeError("The actor died")
    assert isinstance(error.value.__cause__, RuntimeError)


@pytest.mark.parametrize("raised", [ValueError("a mistake"), KeyboardInterrupt()])
def test_an_error_of_a_whole_cluster_stays_what_it_is(raised: BaseException) -> None:
    with pytest.raises(type(raised)) as error, Watch(Cluster(), dict, 0.01):
        raise raised
    assert error.value is raised


def test_a_node_that_joins_later_and_goes_is_none_of_its_own() -> None:
    cluster = Cluster()
    with Watch(cluster, dict, 0.01):
        cluster.nodes["c"] = "10.0.0.3"
        del cluster.nodes["c"]


def test_an_actor_that_nobody_calls_ends_it_too() -> None:
    actors = dict(ACTORS)
    lost = r"this run lost SimpleStorageUnit on 10\.0\.0\.1: the process has ended; what was waited for was there"
    with pytest.raises(PartLost, match=lost), Watch(Cluster(), lambda: dict(actors), 0.01):
        del actors["1"]
        threading.Event().wait(60)


@pytest.mark.slow
def test_which_actors_there_are_is_what_ray_knows() -> None:
    """A killed one is missing at once, though nobody calls it. The interface is not public: this guards it."""
    script = """
import time, ray
from verl_vaopd.trainer.watch import alive_actors, alive_nodes
ray.init("local", num_cpus=1, include_dashboard=False, configure_logging=False)
Part = ray.remote(type("Part", (), {"ready": lambda self: True}))
parts = [Part.options(num_cpus=0).remote() for _ in range(2)]
ray.get([part.ready.remote() for part in parts])
address = ray.util.get_node_ip_address()
assert list(alive_actors().values()) == [f"Part on {address}"] * 2, alive_actors()
assert list(alive_nodes().values()) == [address]
ray.kill(parts[0])
deadline = time.monotonic() + 20
while len(alive_actors()) != 1:
    assert time.monotonic() < deadline
    time.sleep(0.1)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
