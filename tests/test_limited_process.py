"""A call that takes too much ends its process and nothing else; the next one is answered."""

import os
import subprocess
import sys
import time

import pytest

from tests import limited_calls
from verl_vaopd import limited_process
from verl_vaopd.limited_process import LimitedProcess, LimitExceededError, Limits

LIMITS = Limits(max_seconds=0.3, max_memory_mb=256)


def process_of(function) -> LimitedProcess:
    return LimitedProcess(limited_calls.__name__, function.__name__, LIMITS)


def test_one_process_answers_call_after_call_and_ends_with_the_last():
    with process_of(limited_calls.answer) as process:
        first, second = (process.call(value=value) for value in ("√\ud800", ["a" * 10**6]))
    assert first["pid"] == second["pid"] != os.getpid()
    assert (first["value"], second["value"]) == ("√\ud800", ["a" * 10**6])
    assert not os.path.exists(f"/proc/{first['pid']}")


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (limited_calls.spin, "more than 0.3 s"),
        (limited_calls.hoard, "more than 256 MB"),
        (limited_calls.nest, "nested too deeply"),
        (limited_calls.die, "SIGKILL"),
    ],
)
def test_a_call_that_takes_too_much_says_which_limit_it_went_past(function, reason):
    with process_of(function) as process:
        for _ in range(2):  # the second one in a new process
            with pytest.raises(LimitExceededError, match=reason):
                process.call(value="a")


def test_a_process_that_was_stopped_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(limited_process, "_STALLED_S", 1.0)
    with process_of(limited_calls.stop) as process, pytest.raises(LimitExceededError, match="did not reply within 1 s"):
        process.call(value="a")


def test_an_error_of_the_function_is_no_limit(capfd):
    with process_of(limited_calls.fail) as process, pytest.raises(RuntimeError, match=r"limited_calls\.fail raised"):
        process.call(value="a")
    assert "ValueError: no use for a" in capfd.readouterr().err


def test_a_module_that_cannot_be_imported_is_told(capfd):
    process = LimitedProcess("tests.nowhere", "answer", LIMITS)
    with pytest.raises(RuntimeError, match=r"tests\.nowhere\.answer: got no process .*exit code 1"):
        process.call(value="a")
    assert "No module named 'tests.nowhere'" in capfd.readouterr().err


def test_the_process_does_not_outlive_the_one_that_calls():
    """However that one ends, and whatever the process does."""
    program = (
        "import os, signal; from verl_vaopd.limited_process import *\n"
        "process = LimitedProcess('tests.limited_calls', 'answer', Limits())\n"
        "print(process.call(value='a')['pid'], flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    deadline = time.monotonic() + 60
    while os.path.exists(f"/proc/{int(done.stdout)}") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{int(done.stdout)}")
