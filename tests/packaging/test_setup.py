"""launch/setup.sh and launch/run_vaopd.sh, with stand-ins for Python, uv and nvidia-smi that record their calls."""

import os
import signal
import time

import pytest

from tests.packaging.stand_in_clone import UV, Clone


@pytest.fixture
def clone(tmp_path) -> Clone:
    clone = Clone(tmp_path)
    clone.without_gpu()
    return clone


def test_fresh_clone_installs_uv_then_torch_then_the_lock_then_the_package(clone):
    seen = clone.setup()
    install_uv, torch, sync, package = clone.calls()
    assert install_uv == "pip -m pip install uv==0.13.8"
    assert "pip install --python .venv/bin/python --no-deps --require-hashes -r .setup/torch.txt" in torch
    assert (clone.fakes / "seen-torch.txt").read_text() == "torch==2.13.0+cpu \\\n    --hash=sha256:bb\n    # via x\n"
    assert "pip sync --python .venv/bin/python --require-hashes requirements/cpu.txt" in sync
    assert "--no-deps --no-build-isolation -e ." in package
    assert clone.stamp.read_text().startswith(f"hardware=cpu\nroot={clone.root}\ndigest=")
    assert len(seen.splitlines()) <= 8


def test_second_call_does_and_says_nothing(clone):
    clone.setup()
    clone.calls()
    assert clone.setup() == ""
    assert clone.calls() == []


def test_uv_on_the_path_is_used(clone):
    clone.fake("uv", UV)
    clone.setup()
    assert not any(call.startswith("pip") for call in clone.calls())


@pytest.mark.parametrize("changed", ["setup.py", "requirements/cpu.txt"])
def test_changed_lock_or_setup_updates_the_same_environment(clone, changed):
    clone.setup()
    clone.calls()
    (clone.root / ".venv/kept").touch()
    with (clone.root / changed).open("a") as file:
        file.write("# changed\n")
    clone.setup()
    assert any("pip sync" in call for call in clone.calls())
    assert (clone.root / ".venv/kept").exists()
    assert clone.setup() == ""


def test_changed_lock_of_the_other_stack_changes_nothing(clone):
    clone.setup()
    (clone.root / "requirements/gpu.txt").write_text("changed")
    assert clone.setup() == ""


@pytest.mark.parametrize("step", ["torch.txt", "pip sync", "-e ."])
def test_failure_names_the_log_and_the_next_call_builds_anew(clone, step):
    clone.setup()
    with (clone.root / "setup.py").open("a") as file:
        file.write("# changed\n")
    (clone.root / ".venv/stale").touch()
    seen = clone.setup(expect=1, UV_FAILS_AT=step)
    assert "FAILED" in seen and "made to fail" in seen and str(clone.root / ".setup/setup.log") in seen
    assert not clone.stamp.exists()
    assert "building it anew" in clone.setup()
    assert clone.stamp.exists()
    assert not (clone.root / ".venv/stale").exists()


def test_killed_set_up_is_built_anew(clone):
    process = clone.start(UV_SLEEPS="60")
    wait_for(lambda: clone.calls_file.exists() and "uv pip" in clone.calls_file.read_text())
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (clone.root / ".venv/half").touch()
    assert not clone.stamp.exists()
    clone.setup()
    assert not (clone.root / ".venv/half").exists()


def test_an_environment_of_somebody_elses_stays(clone):
    (clone.root / ".venv/bin").mkdir(parents=True)
    (clone.root / ".venv/bin/mine").touch()
    for _ in range(2):  # having been here before does not make it ours
        seen = clone.setup(expect=1)
        assert f"{clone.root}/.venv is not from this script" in seen and "move it away" in seen
        assert (clone.root / ".venv/bin/mine").exists()


def test_missing_cpu_build_of_torch_names_the_variable_and_the_fix(clone):
    seen = clone.setup(expect=1, UV_FAILS_AT="torch.txt")
    assert "torch==2.13.0+cpu: cause: made to fail" in seen
    assert "VAOPD_TORCH_INDEX" in seen and "PIP_FIND_LINKS" in seen
    assert not any("pip sync" in call for call in clone.calls())


def test_torch_index_is_asked_for_torch_alone(clone):
    clone.setup(VAOPD_TORCH_INDEX="file:///an/index")
    with_index = [call for call in clone.calls() if "--index file:///an/index" in call]
    assert len(with_index) == 1
    assert "torch.txt" in with_index[0]


def test_find_links_of_pip_reach_uv_once_each(clone):
    clone.setup(UV_FIND_LINKS="/u,/both", PIP_FIND_LINKS="/p /both", CONFIGURED_LINKS="/p\n/c")
    uv_calls = [call for call in clone.calls() if call.startswith("uv")]
    assert len(uv_calls) == 3
    assert all("links=/u,/both,/p,/c " in call for call in uv_calls)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"CONFIGURED_INDEX": "file:///c"}, "file:///c"),
        ({"CONFIGURED_INDEX": "file:///c", "PIP_INDEX_URL": "file:///p"}, "file:///p"),
        ({"PIP_INDEX_URL": "file:///p", "UV_DEFAULT_INDEX": "file:///u"}, "file:///u"),
        ({}, ""),
    ],
)
def test_index_of_pip_reaches_uv_unless_uv_has_one(clone, variables, expected):
    clone.setup(**variables)
    assert all(call.endswith(f"index={expected}") for call in clone.calls() if call.startswith("uv"))


def test_named_hardware_wins(clone):
    clone.with_gpu()
    clone.setup(VAOPD_HARDWARE="cpu")
    assert clone.stamp.read_text().startswith("hardware=cpu\n")


def test_unknown_hardware_is_refused(clone):
    seen = clone.setup(expect=1, VAOPD_HARDWARE="tpu")
    assert "'tpu'" in seen and "cpu or gpu" in seen
    assert clone.calls() == []


def test_changed_hardware_builds_anew(clone):
    clone.setup()
    (clone.root / ".venv/of-the-cpu-stack").touch()
    clone.with_gpu()
    assert "building it anew" in clone.setup()
    assert not (clone.root / ".venv/of-the-cpu-stack").exists()


def test_gpu_stack_stays_on_a_node_without_gpu(clone):
    clone.with_gpu()
    clone.setup()
    clone.without_gpu()
    assert clone.setup() == ""


def test_moved_clone_builds_anew(clone):
    """Scripts of an environment name its path in their first line."""
    clone.setup()
    clone.root = clone.root.rename(clone.root.parent / "moved")
    assert "building it anew" in clone.setup()


def test_no_python_and_no_uv_says_what_to_install(clone):
    for name in ("python3.11", "python3", "python"):
        clone.fake(name, "#!/usr/bin/env bash\nexit 1\n")
    seen = clone.setup(expect=1)
    assert "no Python 3.11" in seen and "python3.11-venv, or uv" in seen


def test_concurrent_calls_install_once(clone):
    first = clone.start(UV_SLEEPS="0.7")
    wait_for(lambda: clone.calls_file.exists())
    second = clone.start(UV_SLEEPS="0.7")
    seen = second.communicate(timeout=60)[1]
    first.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0)
    assert "waiting" in seen
    assert sum("pip sync" in call for call in clone.calls()) == 1


def test_run_passes_overrides_on_and_keeps_the_working_directory(clone, tmp_path):
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    overrides = ["student=2b", "run.name=two words", "--cfg", "job"]
    process = clone.start("run_vaopd.sh", *overrides, cwd=elsewhere)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.splitlines() == [str(elsewhere), "train", *overrides]


def test_run_stops_when_set_up_fails(clone):
    process = clone.start("run_vaopd.sh", UV_FAILS_AT="pip sync")
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")


def test_signal_to_run_reaches_the_trainer(clone):
    clone.setup()
    process = clone.start("run_vaopd.sh", VAOPD_SLEEPS="1")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == -signal.SIGTERM


def wait_for(condition, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
