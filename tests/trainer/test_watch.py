"""A training does not outlive a node of its cluster or a worker of its agent loops, and says which one it was."""

from __future__ import annotations

import signal
import threading

import pytest

from verl_vaopd.trainer.watch import PartLost, Watch

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
    with pytest.raises(PartLost, match=LOST), Watch(nodes=cluster, grace_s=0.01):
        cluster.lose()
        threading.Event().wait(60)
    assert signal.getsignal(signal.SIGUSR1) is before


def test_an_error_that_comes_first_is_its_cause() -> None:
    cluster = Cluster()
    with pytest.raises(PartLost, match=rf"{LOST}; first to fail: The actor died") as error, Watch(nodes=cluster):
        cluster.lose()
        raise RuntimeError("The actor died")
    assert isinstance(error.value.__cause__, RuntimeError)


@pytest.mark.parametrize("raised", [ValueError("a mistake"), KeyboardInterrupt()])
def test_an_error_of_a_whole_cluster_stays_what_it_is(raised: BaseException) -> None:
    with pytest.raises(type(raised)) as error, Watch(nodes=Cluster(), grace_s=0.01):
        raise raised
    assert error.value is raised


def test_a_node_that_joins_later_and_goes_is_none_of_its_own() -> None:
    cluster = Cluster()
    with Watch(nodes=cluster, grace_s=0.01):
        cluster.nodes["c"] = "10.0.0.3"
        del cluster.nodes["c"]


def test_a_worker_that_nobody_waits_for_ends_it_too() -> None:
    live = [True]
    with pytest.raises(PartLost, match=r"a ViewAgentLoopWorker, .* has died"), Watch(lambda: live[0], Cluster(), 0.01):
        live[0] = False
        threading.Event().wait(60)
