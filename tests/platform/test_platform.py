"""The CPU platform is requested, complete, and says why when verl does not run with it."""

import importlib.metadata
import json
import os
import subprocess
import sys
import sysconfig

import pytest
import torch

from verl_vaopd.platform import (
    cpu_environment,
    forwarded_environment,
    is_cpu,
    prepare_environment,
    registration,
    torch_cpu,
    verify_registration,
    worker_environment,
)

REGISTRATION = """
import importlib.metadata, os
installed = importlib.metadata.version
importlib.metadata.version = lambda name: "0.9.2" if name == "verl" else installed(name)
os.environ["VERL_USE_EXTERNAL_PLUGINS"] = "none"

from verl_vaopd.platform import verify_registration

def verify(case):
    try:
        verify_registration()
    except RuntimeError as error:
        print(f"{case}: {error}")
    else:
        print(f"{case}: registered")

verify("version")
importlib.metadata.version = installed
verify("policy")
verify("loaded")
os.environ["VERL_PLATFORM"] = "cpu"
verify("late")
"""


def test_importing_the_package_is_light() -> None:
    code = "import sys, verl_vaopd.platform; print(*{'torch', 'verl', 'vllm', 'ray'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == []


@pytest.mark.parametrize(
    ("value", "expected"), [("cpu", True), (" CPU ", True), ("nvidia", False), ("", False), (None, False)]
)
def test_cpu_is_requested_by_the_variable_alone(
    value: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VERL_PLATFORM", raising=False)
    if value is not None:
        monkeypatch.setenv("VERL_PLATFORM", value)
    assert is_cpu() is expected


def test_cpu_environment_requests_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cpu_environment().items():
        monkeypatch.setenv(name, value)
    assert is_cpu()
    # Python takes an empty value of this one for unset.
    code = "import sys; print(sys.dont_write_bytecode)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, env=os.environ).strip() == "False"


def test_memory_of_the_device_is_memory_of_the_process() -> None:
    before = torch_cpu.memory_allocated()
    block = torch.ones(64 * 2**20 // 4)  # 64 MiB; the operating system counts in its own time
    assert torch_cpu.memory_allocated() > before + 32 * 2**20
    del block
    assert before + 32 * 2**20 < torch_cpu.max_memory_allocated() < torch_cpu.mem_get_info()[1]


def test_generator_of_the_device_is_torchs() -> None:
    torch_cpu.manual_seed(3)
    state = torch_cpu.get_rng_state()
    first = torch.rand(4)
    torch_cpu.set_rng_state(state)
    assert torch.rand(4).equal(first)
    torch.manual_seed(3)
    assert torch.rand(4).equal(first)


@pytest.fixture(scope="module")
def refusals() -> dict[str, str]:
    """What verify_registration says in one process in which plugins go wrong one after the other."""
    environment = {name: value for name, value in os.environ.items() if name not in cpu_environment()}
    output = subprocess.check_output([sys.executable, "-c", REGISTRATION], text=True, env=environment)
    return dict(line.split(": ", 1) for line in output.splitlines())


def test_error_that_verl_swallowed_is_raised(refusals: dict[str, str]) -> None:
    assert "'fix_position_ids' was written for verl 0.9.1, got 0.9.2" in refusals["version"]


def test_plugins_switched_off_are_an_error(refusals: dict[str, str]) -> None:
    assert "VERL_USE_EXTERNAL_PLUGINS is 'none', expected it unset" in refusals["policy"]


def test_registered_plugin_passes(refusals: dict[str, str]) -> None:
    assert refusals["loaded"] == "registered"


def test_platform_requested_after_the_import_is_an_error(refusals: dict[str, str]) -> None:
    assert "set after verl was imported" in refusals["late"]


def test_entry_point_that_is_not_installed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration.importlib.metadata, "entry_points", lambda group: [])
    monkeypatch.setitem(sys.modules, "verl", object())
    with pytest.raises(RuntimeError, match=r"got \[\] as installed entry points.*pip install -e"):
        verify_registration()


def test_entry_points_are_installed() -> None:
    for group, name in (
        ("verl.plugins", "vaopd"),
        ("vllm.platform_plugins", "vaopd_cpu"),
        ("vllm.general_plugins", "vaopd_cpu_live_weights"),
    ):
        (entry_point,) = (point for point in importlib.metadata.entry_points(group=group) if point.name == name)
        assert entry_point.value.startswith("verl_vaopd.platform.")


FIND = """
import os, shutil, sys
from verl_vaopd import {module}
{call}
print(shutil.which("vaopd"), os.environ["VLLM_USE_FLASHINFER_SAMPLER"], os.environ["PATH"].count(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("module", "call"),
    [
        ("cli", 'cli.main(["options", "no-such-key"])'),
        ("platform", "platform.prepare_environment(); platform.prepare_environment()"),
    ],
)
def test_what_is_started_finds_the_programs_of_this_environment(module: str, call: str) -> None:
    """`.venv/bin/vaopd` called by its path, as launch scripts do: nothing is activated."""
    scripts = sysconfig.get_path("scripts")
    code = FIND.format(module=module, call=call)
    found = subprocess.check_output([sys.executable, "-c", code, scripts], text=True, env={"PATH": "/usr/bin"})
    assert found.split()[-3:] == [f"{scripts}/vaopd", "0", "1"]


def test_a_persons_own_sampler_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_USE_FLASHINFER_SAMPLER", "1")
    prepare_environment()
    assert os.environ["VLLM_USE_FLASHINFER_SAMPLER"] == worker_environment()["VLLM_USE_FLASHINFER_SAMPLER"] == "1"


CANARY = "canary-4f1d"
FORWARDED = {
    "https_proxy": f"http://person:{CANARY}@proxy:3128",
    "HF_TOKEN": CANARY,
    "HUGGING_FACE_HUB_TOKEN": CANARY,
    "WANDB_API_KEY": CANARY,
    "http_proxy": "http://proxy:3128",
    "NO_PROXY": "10.0.0.0/8,localhost",
    "HF_HOME": "/shared/hub",
    "HF_ENDPOINT": "https://hub.example",
    "HF_HUB_OFFLINE": "0",
    "HF_TOKEN_PATH": "/shared/token",
    "WANDB_MODE": "offline",
    "WANDB_PROJECT": "mine",
}
OTHERS = {"AWS_SECRET_ACCESS_KEY": CANARY, "MY_HF_TOKEN": CANARY, "PASSWORD": CANARY, "RAY_AUTH_TOKEN": CANARY}


def test_what_reaches_network_hub_and_wandb_is_forwarded_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", FORWARDED | OTHERS)
    assert forwarded_environment() == FORWARDED
    assert CANARY not in str(worker_environment())


def test_a_ray_job_is_sent_no_secret_and_told_which_ones() -> None:
    command = [sys.executable, "-m", "verl_vaopd.platform.job_environment"]
    environment = {"PATH": os.defpath, **FORWARDED, **OTHERS}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert CANARY not in done.stdout + done.stderr
    sent = json.loads(done.stdout)
    assert sent["env_vars"] == {name: value for name, value in FORWARDED.items() if CANARY not in value}
    assert "not sent: HF_TOKEN, HUGGING_FACE_HUB_TOKEN, WANDB_API_KEY, https_proxy," in done.stderr
