"""What platform/patches.py and the environment mend, without and with the mend.

Where the first test of a pair fails, the installed release no longer has the fault: delete the patch, and the test with
it. Each case runs in a process of its own (platform_faults.py), since plugins count when verl and vLLM are imported.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import torch

from verl_vaopd.platform import cpu_environment, has_cpu_vllm, patches

ROOT = pathlib.Path(__file__).parents[2]
OF_VERL = ("vllm_version", "torchvision", "process_group", "position_ids", "registration")
OF_VLLM = ("language_config", "live_weights") if has_cpu_vllm() else ()

pytestmark = pytest.mark.slow
on_cpu_stack = pytest.mark.skipif(
    torch.version.cuda is not None or torch.version.hip is not None, reason="the fault is the CPU stack's"
)


def outcomes(folder: pathlib.Path, probes: tuple[str, ...], environment: dict[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in cpu_environment()}
    run = subprocess.run(
        [sys.executable, "-m", "tests.platform.platform_faults", str(folder), *probes],
        cwd=ROOT,
        env=inherited | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Outcomes where nothing is mended; in vLLM, nothing but torchvision, without which it imports no Qwen3-VL."""
    folder = tmp_path_factory.mktemp("without")
    of_verl = outcomes(folder, OF_VERL, {"VERL_PLATFORM": "cpu", "VERL_USE_EXTERNAL_PLUGINS": "none"})
    return of_verl | outcomes(folder, OF_VLLM, {"VLLM_PLUGINS": "vaopd_cpu"})


@pytest.fixture(scope="module")
def mended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Outcomes in the CPU stack's environment."""
    folder = tmp_path_factory.mktemp("mended")
    return outcomes(folder, OF_VERL, cpu_environment()) | outcomes(folder, OF_VLLM, cpu_environment())


@on_cpu_stack
class TestTorchvision:
    def test_fault(self, without: dict[str, str]) -> None:
        assert without["torchvision"] == "RuntimeError: operator torchvision::nms does not exist"

    def test_mended(self, mended: dict[str, str]) -> None:
        assert mended["torchvision"].startswith(patches.TORCHVISION_VERSION)


@pytest.mark.cpu_vllm
class TestVllmDistribution:
    def test_fault(self, without: dict[str, str]) -> None:
        assert without["vllm_version"].startswith("PackageNotFoundError")

    def test_mended(self, mended: dict[str, str]) -> None:
        assert mended["vllm_version"] == f"{patches.VLLM_VERSION}+cpu"


class TestProcessGroup:
    def test_fault(self, without: dict[str, str]) -> None:
        assert without["process_group"].startswith("ValueError: Duplicate device type cpu")

    def test_mended(self, mended: dict[str, str]) -> None:
        assert mended["process_group"] == "cpu:gloo [1.0, 1.0]"


class TestPositionIds:
    def test_fault(self, without: dict[str, str]) -> None:
        assert without["position_ids"] != "sequences kept: [True, True, True]"

    def test_mended(self, mended: dict[str, str]) -> None:
        assert mended["position_ids"] == "sequences kept: [True, True, True]"


@pytest.mark.cpu_vllm
class TestLiveWeights:
    """A linear layer of vLLM whose 64 weights per output become 2 after it was prepared; the inputs are ones."""

    def test_fault(self, without: dict[str, str]) -> None:
        assert without["live_weights"].startswith("RuntimeError")  # the parameter is gone

    def test_mended(self, mended: dict[str, str]) -> None:
        assert mended["live_weights"] == "sums [128.0]"


@pytest.mark.cpu_vllm
class TestLanguageConfig:
    """VLLM_MLA_DISABLE: the configuration of Qwen3-VL's language model."""

    def test_fault(self, without: dict[str, str]) -> None:
        assert without["language_config"] == "IndexError: list index out of range"

    def test_mended(self, mended: dict[str, str]) -> None:
        assert mended["language_config"] == "False"


def test_plugin_registers_the_platform(without: dict[str, str], mended: dict[str, str]) -> None:
    assert without["registration"].startswith("RuntimeError: verl did not load the plugin")
    assert mended["registration"] == "cpu"
