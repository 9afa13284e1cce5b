"""The models shipped with the package are the ones their manifest describes, and they can do what it says."""

import json
from dataclasses import asdict

import pytest
import torch

from verl_vaopd.data.tinygeo import acceptance, models
from verl_vaopd.data.tinygeo.build import ASSETS, BRANCHES, TRUNK
from verl_vaopd.data.tinygeo.dataset import generate_examples
from verl_vaopd.files import sha256_of


@pytest.fixture(scope="module")
def manifest():
    return json.loads((ASSETS / "manifest.json").read_text())


def test_files_are_the_ones_measured(manifest):
    shipped = {str(path.relative_to(ASSETS)) for path in ASSETS.rglob("*") if path.is_file()} - {"manifest.json"}
    assert shipped == set(manifest["files"])
    for name, entry in manifest["files"].items():
        assert sha256_of(ASSETS / name) == entry["sha256"], name
    assert sum(entry["bytes"] for entry in manifest["files"].values()) <= 12 * 2**20
    assert manifest["command"].startswith("vaopd tinygeo build --seed")
    assert isinstance(manifest["seed"], int)


def test_made_by_the_recipe_of_the_code(manifest):
    recipes = {name: model["recipe"] for name, model in manifest["models"].items()} | {
        "trunk": manifest["trunk"]["recipe"]
    }
    ours = {name: asdict(branch) for name, branch in BRANCHES.items()} | {"trunk": asdict(TRUNK)}
    assert recipes == json.loads(json.dumps(ours)), "build the models anew: vaopd tinygeo build"
    assert manifest["violations"] == []
    assert not manifest["commit"].endswith("-dirty")


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_recorded_accuracy_meets_the_bounds(manifest, name):
    assert acceptance.violations(name, manifest["models"][name]["measured"]) == []


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_tokenizer_is_the_one_of_the_code(name):
    assert models.load_tokenizer(ASSETS / name).get_vocab() == models.build_tokenizer().get_vocab()


def test_greedy_answers_agree_with_the_manifest():
    """32 problems: a teacher at 0.91 falls below 0.7 with probability 3e-4; pixelated it must all but fail."""
    torch.set_num_threads(1)
    model, tokenizer = models.load_model(ASSETS / "teacher"), models.load_tokenizer(ASSETS / "teacher")
    examples = generate_examples("validation", 32, seed=0)
    clean, _ = acceptance.measure(model, tokenizer, examples, "clean")
    assert clean.accuracy >= 0.7
    assert clean.well_formed >= 0.95
    pixelated, _ = acceptance.measure(model, tokenizer, examples[:16], "pixelated")
    assert pixelated.accuracy <= 0.3
