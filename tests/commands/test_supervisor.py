"""The launcher against stand-ins for the training process; the real one is started in tests/e2e."""

import fcntl
import io
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from verl_vaopd.commands import supervisor
from verl_vaopd.commands.console import Console
from verl_vaopd.runs import events
from verl_vaopd.runs.causes import cause_in, error_excerpt, short_cause
from verl_vaopd.runs.checkpoints import checkpoint_path, mark_complete
from verl_vaopd.runs.run_dir import LOG, RunDir

PREAMBLE = """
import os, signal, subprocess, sys, time
from pathlib import Path
run = Path(sys.argv[sys.argv.index("--run-dir") + 1])
"""
# Starts the launcher in a process of its own, as `vaopd train` does, for the tests that send it signals.
LAUNCHER = """
import fcntl, os, sys
from pathlib import Path
from verl_vaopd.commands import supervisor
from verl_vaopd.commands.console import Console
from verl_vaopd.runs.run_dir import RunDir
path = Path(sys.argv[1])
run = RunDir(path, False, (), os.open(path / "lock", os.O_RDWR | os.O_CREAT))
fcntl.flock(run.lock, fcntl.LOCK_EX)
sys.exit(supervisor.run(run, Console(), [sys.executable, sys.argv[2]], grace_s=float(sys.argv[3])))
"""


@pytest.fixture
def run_path(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    return path


def write_script(path: Path, body: str) -> Path:
    path.write_text(PREAMBLE + textwrap.dedent(body))
    return path


def run_child(run_path, body, **options):
    """Exit code and printed text of a launch whose training process runs `body`."""
    script = write_script(run_path.parent / "child.py", body)
    lock = os.open(run_path / "lock", os.O_RDWR | os.O_CREAT)
    stream = io.StringIO()
    run = RunDir(run_path, False, (), lock)
    code = supervisor.run(run, Console(stream), [sys.executable, str(script)], **options)
    os.close(lock)
    return code, stream.getvalue()


@pytest.fixture
def start_launcher(run_path):
    """Starts the launcher in a process of its own; returns it and its child's process id once the child is ready."""
    started = []

    def start(body, grace_s=30.0):
        script = write_script(run_path.parent / "child.py", body)
        command = [sys.executable, "-c", LAUNCHER, str(run_path), str(script), str(grace_s)]
        launcher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(launcher.pid)
        wait_until(lambda: (run_path / "pid").exists())
        started.append(int((run_path / "pid").read_text()))
        return launcher, started[-1]

    yield start
    for pid in started:  # those that a failed test has left
        if not has_ended(pid):
            os.kill(pid, signal.SIGKILL)


def wait_until(condition, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def has_ended(pid):
    """Whether a process is gone; one that nobody has waited for yet counts as gone."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


TRAINS = """
from verl_vaopd.runs.events import EventLog
from verl_vaopd.runs.run_dir import mark_finished
print("noise of a library")
with EventLog(run / "events.jsonl") as log:
    log.write("phase", name="starting Ray")
    for step in (1, 2):
        log.write("step", step=step, total=2, metrics={"vaopd/loss": 0.5})
    log.write("finished")
mark_finished(run)
"""


def test_a_training_that_finishes_shows_its_steps_and_keeps_noise_in_the_log(run_path):
    code, text = run_child(run_path, TRAINS)
    assert code == 0
    assert [line[:8] for line in text.splitlines()[1:]] == ["step 1/2", "step 2/2"]
    assert "starting Ray" in text and "noise" not in text
    assert (run_path / LOG).read_text() == "noise of a library\n"


def test_a_resumed_run_shows_only_what_is_new_and_appends_to_the_log(run_path):
    run_child(run_path, TRAINS)
    code, text = run_child(run_path, TRAINS)
    assert (code, text.count("step 1/2")) == (0, 1)
    assert (run_path / LOG).read_text() == 2 * "noise of a library\n"


def test_a_training_that_dies_says_why_and_how_to_go_on(run_path):
    code, text = run_child(run_path, 'raise ValueError("teacher: got a tokenizer of 5 tokens")')
    assert code == 1
    assert "ended with exit code 1" in text
    assert "    ValueError: teacher: got a tokenizer of 5 tokens" in text
    assert str(run_path / LOG) in text
    assert "The same command again resumes from the beginning" in text


def test_the_hint_names_the_checkpoint_that_a_resume_starts_from(run_path):
    for step in (10, 20):
        path = checkpoint_path(run_path / "checkpoints", step)
        path.mkdir(parents=True)
        (path / "data.pt").write_bytes(b"x")
        if step == 10:
            mark_complete(path)
    assert "resumes after global_step_10." in run_child(run_path, "sys.exit(3)")[1]


def test_the_error_of_an_earlier_launch_is_not_shown_again(run_path):
    run_child(run_path, 'raise ValueError("first")')
    text = run_child(run_path, 'sys.exit("second")')[1]
    assert "second" in text and "first" not in text


def test_ending_well_without_finishing_is_a_failure(run_path):
    code, text = run_child(run_path, "pass")
    assert code == 1 and "exit code 0" in text


def test_a_crash_after_the_end_is_a_warning(run_path):
    code, text = run_child(run_path, TRAINS + "os.kill(os.getpid(), signal.SIGTERM)\n")
    assert code == 0 and "warning: training is finished, but its process ended with signal SIGTERM" in text


def test_a_killed_training_is_named_as_such(run_path):
    code, text = run_child(run_path, "os.kill(os.getpid(), signal.SIGKILL)")
    assert code == 1 and "signal SIGKILL (often: out of memory)" in text


REFUSES = """
from verl_vaopd.runs.events import EventLog
with EventLog(run / "events.jsonl") as log:
    log.write("refused", text="a prompt is too long")
sys.exit(1)
"""


@pytest.mark.parametrize("resumes", [False, True])
def test_a_run_that_was_refused_leaves_no_directory_unless_it_is_older(run_path, resumes):
    lock = os.open(run_path / "lock", os.O_RDWR | os.O_CREAT)
    run = RunDir(run_path, resumes, (), lock)
    script = write_script(run_path.parent / "child.py", REFUSES)
    with pytest.raises(ValueError, match="a prompt is too long"):
        supervisor.run(run, Console(io.StringIO()), [sys.executable, str(script)])
    os.close(lock)
    assert run_path.exists() == resumes


LITTERS = """
import tempfile
for variable in ("TMPDIR", "RAY_TMPDIR"):
    if variable in os.environ:
        (Path(os.environ[variable]) / "ray" / "session").mkdir(parents=True)
(run / "places").write_text(tempfile.gettempdir() + " " + os.environ.get("RAY_TMPDIR", ""))
"""


@pytest.mark.parametrize("ending", ["", "sys.exit(1)", "os.kill(os.getpid(), signal.SIGKILL)"])
@pytest.mark.parametrize("variables", [("TMPDIR",), ("TMPDIR", "RAY_TMPDIR")])
def test_temporary_files_are_removed_and_nothing_else_is(run_path, tmp_path, monkeypatch, variables, ending):
    for variable in variables:
        (tmp_path / variable / "ray" / "session_of_another").mkdir(parents=True)
        (tmp_path / variable / "vaopd0").mkdir()
        (tmp_path / variable / "vaopd0" / "lock").touch()
        monkeypatch.setenv(variable, str(tmp_path / variable))
    run_child(run_path, LITTERS + ending)
    used = (run_path / "places").read_text().split()
    assert used == [str(tmp_path / variable / "vaopd1") for variable in variables]
    for variable in variables:
        left = sorted(path.name for path in (tmp_path / variable).rglob("*"))
        assert left == ["lock", "ray", "session_of_another", "vaopd0"]


def test_temporary_files_of_a_killed_launcher_go_with_the_next_run(run_path, tmp_path, monkeypatch, start_launcher):
    """And those of one that lives stay."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    launcher, child = start_launcher(SLEEPS)
    run_child(run_path, "pass")
    assert [path.name for path in (tmp_path / "t").iterdir()] == ["vaopd0"]
    launcher.kill()
    launcher.communicate(timeout=60)
    assert has_ended_soon(child)
    assert [path.name for path in (tmp_path / "t").iterdir()] == ["vaopd0"]
    run_child(run_path, "pass")
    assert not list((tmp_path / "t").iterdir())


def test_a_disk_that_is_too_full_for_the_log_is_named(run_path, monkeypatch):
    assert "The disk of" not in run_child(run_path, "sys.exit(1)")[1]
    monkeypatch.setattr(supervisor, "free_bytes", lambda path: 4096)
    assert f"The disk of {run_path} has 4.0 KiB free" in run_child(run_path, "sys.exit(1)")[1]


def test_what_the_training_process_leaves_behind_is_killed(run_path):
    run_child(
        run_path,
        """
        orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        (run / "orphan").write_text(str(orphan.pid))
        """,
    )
    assert has_ended_soon(int((run_path / "orphan").read_text()))


def has_ended_soon(pid):
    wait_until(lambda: has_ended(pid))
    return True


SLEEPS = """
def report(number, frame):
    (run / "received").write_text(signal.Signals(number).name)
    sys.exit(1)
signal.signal(signal.SIGINT, report)
signal.signal(signal.SIGTERM, report)
(run / "pid.new").write_text(str(os.getpid()))
(run / "pid.new").rename(run / "pid")
while True:
    time.sleep(0.05)
"""
DEAF = SLEEPS.replace("report)", "signal.SIG_IGN)")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_handed_on_and_the_exit_code_says_it(run_path, start_launcher, number):
    launcher, child = start_launcher(SLEEPS)
    launcher.send_signal(number)
    text = launcher.communicate(timeout=60)[0]
    assert launcher.returncode == 128 + number
    assert (run_path / "received").read_text() == number.name
    assert f"Stopped by {number.name}. The same command again resumes" in text
    assert has_ended(child)


def test_a_child_that_does_not_end_is_killed_after_the_grace_period(run_path, start_launcher):
    launcher, child = start_launcher(DEAF, grace_s=0.3)
    launcher.send_signal(signal.SIGTERM)
    launcher.communicate(timeout=60)
    assert launcher.returncode == 128 + signal.SIGTERM
    assert has_ended(child)


def test_a_second_interrupt_does_not_wait_for_the_grace_period(run_path, start_launcher):
    launcher, child = start_launcher(DEAF, grace_s=600)
    launcher.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert not has_ended(child)
    launcher.send_signal(signal.SIGINT)
    launcher.communicate(timeout=60)
    assert has_ended(child)


def test_the_child_of_a_killed_launcher_is_asked_to_end(run_path, start_launcher):
    launcher, child = start_launcher(SLEEPS)
    launcher.kill()
    launcher.communicate(timeout=60)
    assert has_ended_soon(child)
    assert (run_path / "received").read_text() == "SIGTERM"


def test_a_deaf_child_of_a_killed_launcher_ends_itself(run_path, start_launcher):
    watch = "from verl_vaopd.runs.parent_watch import watch_parent\nwatch_parent(grace_s=0.2, poll_interval=0.05)\n"
    launcher, child = start_launcher(watch + DEAF)
    launcher.kill()
    launcher.communicate(timeout=60)
    assert has_ended_soon(child)


def test_a_child_that_outlives_its_launcher_keeps_the_run_locked(run_path, start_launcher):
    launcher, child = start_launcher(DEAF)
    launcher.kill()
    launcher.communicate(timeout=60)
    with (run_path / "lock").open() as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.kill(child, signal.SIGKILL)
        fcntl.flock(lock, fcntl.LOCK_EX)  # waits for its end


def test_the_launcher_restores_the_signal_handlers(run_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run_child(run_path, "pass")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


OWN = """Traceback (most recent call last):
  File "main.py", line 5, in <module>
ray.exceptions.RayTaskError(ValueError): \x1b[36mray::Teacher.score()\x1b[39m (pid=7)
  File "teacher.py", line 9, in score
ValueError: no teacher
"""
WORKER = """(Teacher pid=7) Traceback (most recent call last):
(Teacher pid=7)   File "teacher.py", line 9, in score
(Teacher pid=7) RuntimeError: out of memory
"""
RAYLET = (
    """Training Progress: 13%|#3  | 4/30 [00:03<00:41]\x1b[33m(raylet)\x1b[0m Raylet is terminated. \
Termination is unexpected. Last 20 lines of the Raylet logs:
"""
    + "    [state-dump] NodeManager.GCTaskFailureReason - 1 total\n" * 50
)


@pytest.mark.parametrize(
    ("log", "excerpt"),
    [
        (OWN + WORKER, [line.replace("\x1b[36m", "").replace("\x1b[39m", "") for line in OWN.splitlines()]),
        (WORKER + "(raylet) bye\n", [line.removeprefix("(Teacher pid=7) ") for line in WORKER.splitlines()] + ["bye"]),
        ("\n".join(f"line {number}" for number in range(50)), [f"line {number}" for number in range(30, 50)]),
        (WORKER + RAYLET, ["Raylet is terminated. Termination is unexpected. Last 20 lines of the Raylet logs:"]),
        ("", []),
    ],
    ids=["own", "worker", "none", "raylet", "empty"],
)
def test_the_excerpt_is_the_cause(tmp_path, log, excerpt):
    path = tmp_path / "train.log"
    path.write_text(log)
    assert error_excerpt(path) == excerpt


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (OWN, "ValueError: no teacher"),
        (WORKER, "RuntimeError: out of memory"),
        ("vllm: got 3,\n  expected 4", "vllm: got 3, expected 4"),
        ("x" * 5000, "x" * 400 + " ..."),
        (OWN + "x" * 5000, ("ValueError: no teacher " + "x" * 5000)[:400] + " ..."),
        ("", ""),
    ],
    ids=["ray", "worker", "lines", "long", "long traceback", "empty"],
)
def test_the_cause_of_a_failure_is_one_short_line(tmp_path, text, cause):
    assert short_cause(text) == cause
    (tmp_path / "log").write_text(text)
    if "Traceback" in text:
        assert cause_in(tmp_path / "log").startswith(cause[:200])


def test_a_long_traceback_keeps_its_end(tmp_path):
    path = tmp_path / "train.log"
    frames = "".join(f'  File "deep.py", line {number}\n' for number in range(40))
    path.write_text(f"Traceback (most recent call last):\n{frames}KeyError: 'x'\n" + "chatter\n" * 30)
    excerpt = error_excerpt(path)
    assert len(excerpt) == 20
    assert "KeyError: 'x'" in excerpt


def test_the_events_of_the_launch_are_all_in_the_log(run_path):
    run_child(run_path, TRAINS)
    assert [event["kind"] for event in events.read(run_path / events.FILE_NAME)] == [
        "phase",
        "step",
        "step",
        "finished",
    ]
