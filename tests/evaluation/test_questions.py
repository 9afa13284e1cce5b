import pytest

from verl_vaopd.evaluation.questions import data_path, require_data
from verl_vaopd.evaluation.settings import parse


def test_data_are_found_by_their_usual_names(tmp_path):
    settings = parse(["model=m", f"data={tmp_path}"])
    with pytest.raises(ValueError) as error:
        require_data(settings, ["mathvista", "custom"])
    told = str(error.value)
    assert "hf download AI4Math/MathVista" in told and "MathVista_MINI.tsv" in told and "files.custom=PATH" in told
    for name in ("MathVista", "MathVista_MINI.tsv", "mathvista"):  # ever more preferred
        (tmp_path / name).mkdir()
        assert data_path(settings, "mathvista") == tmp_path / name
    named = parse(["model=m", f"data={tmp_path}", f"files.mathvista={tmp_path / 'MathVista'}"])
    assert data_path(named, "mathvista") == tmp_path / "MathVista"
    with pytest.raises(ValueError, match=r"files\.mathvista: got .*none"):
        data_path(parse(["model=m", f"files.mathvista={tmp_path / 'none'}"]), "mathvista")
