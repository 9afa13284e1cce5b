"""A run that is killed outright continues from its last complete checkpoint, and as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import TRAINING
from tests.e2e.conftest import GREEDY, Run, overrides_in
from verl_vaopd.runs import events

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group(TRAINING), pytest.mark.timeout(1800)]


def _kill_everything(process: subprocess.Popen) -> None:
    """SIGKILL to the command and to all its descendants, Ray's daemons included."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        try:
            os.kill(member.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def test_killed_run_resumes_with_the_same_losses(runs: dict[str, Run], work_dir: Path) -> None:
    command = [sys.executable, "-m", "verl_vaopd.cli", "train"]
    command += overrides_in(work_dir, "run.name=killed", *GREEDY, "validation.every=4")
    log = work_dir / "runs" / "killed" / events.FILE_NAME
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not any(event["step"] >= 3 for event in events.steps(log)):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "no third step"
        time.sleep(0.05)
    _kill_everything(process)
    # A half-written checkpoint of a later step must not be taken for a whole one.
    (work_dir / "runs" / "killed" / "checkpoints" / "global_step_3" / "actor").mkdir(parents=True)

    finished = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "resumed" in finished.stdout

    resumed = [event for event in events.read(log) if event["kind"] == "step"]
    numbers = [event["step"] for event in resumed]
    assert numbers[-2:] == [3, 4] and numbers.count(3) == 2, f"expected steps 3 and 4 after the checkpoint: {numbers}"
    expected = {event["step"]: event["metrics"]["vaopd/loss"] for event in runs["greedy"].steps}
    for event in resumed[-2:]:
        assert event["metrics"]["vaopd/loss"] == pytest.approx(expected[event["step"]], rel=1e-4)
