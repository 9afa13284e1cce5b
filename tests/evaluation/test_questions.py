import pytest

from verl_vaopd.evaluation.questions import data_path, require_data
from verl_vaopd.evaluation.settings import parse


def test_data_are_found_by_their_usual_names(tmp_path):
    settings = parse(["model=m", f"data={tmp_path}"])
    with pytest.raises(ValueError, match=r"(?s)^mathvista: got none.*\ncustom: got none"):
        require_data(settings, ["mathvista", "custom"])
    for name in ("MathVista", "MathVista_MINI.tsv", "mathvista"):  # ever more preferred
        (tmp_path / name).mkdir()
        assert data_path(settings, "mathvista") == tmp_path / name
    named = parse(["model=m", f"data={tmp_path}", f"files.mathvista={tmp_path / 'MathVista'}"])
    assert data_path(named, "mathvista") == tmp_path / "MathVista"
    with pytest.raises(ValueError, match=r"files\.mathvista: got .*none"):
        data_path(parse(["model=m", f"files.mathvista={tmp_path / 'none'}"]), "mathvista")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        (
            "ai2d",
            "get it with `hf download lmms-lab/ai2d --repo-type dataset --local-dir {}/ai2d` or take VLMEvalKit's "
            "AI2D_TEST.tsv, or name it with files.ai2d=PATH",
        ),
        (
            "geo3k",
            "get it with `hf download hiyouga/geometry3k --repo-type dataset --local-dir {}/geo3k`, or name it with "
            "files.geo3k=PATH",
        ),
        ("tinygeo", "a training with dataset=tinygeo writes {}/tinygeo; name it with files.tinygeo=PATH"),
        ("custom", "name it with files.custom=PATH"),
    ],
)
def test_what_is_missing_can_be_had_somewhere(tmp_path, name, advice):
    with pytest.raises(ValueError) as error:
        data_path(parse(["model=m", f"data={tmp_path}"]), name)
    assert str(error.value).endswith(f"expected one; {advice.format(tmp_path)}")
