"""`vaopd tinygeo build --quick`: the whole path from drawing to manifest in a few steps."""

import json

import pytest

from verl_vaopd.data.tinygeo import build, models
from verl_vaopd.files import sha256_of


@pytest.mark.slow
def test_quick_build_writes_loadable_models_and_a_true_manifest(tmp_path):
    out = tmp_path / "models"
    assert build.main(["--out", str(out), "--seed", "3", "--quick"]) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["seed"] == 3
    assert {path.name for path in tmp_path.iterdir()} == {"models"}
    for name, entry in manifest["files"].items():
        assert sha256_of(out / name) == entry["sha256"]
    for name in ("teacher", "student"):
        model = models.load_model(out / name)
        assert sum(p.numel() for p in model.parameters()) == manifest["models"][name]["parameters"]
        assert manifest["models"][name]["measured"]["clean"]["n"] == 2
    assert manifest["violations"]


def test_quick_refuses_to_replace_the_shipped_models(capsys):
    with pytest.raises(SystemExit):
        build.main(["--quick"])
    assert "--out" in capsys.readouterr().err
