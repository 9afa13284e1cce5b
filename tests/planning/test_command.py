"""`vaopd plan`: the table, its page, its JSON, and what it refuses."""

import json
from pathlib import Path

import pytest

from tests.planning.conftest import PAPER, TINY
from verl_vaopd import cli

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
COMMAND = f"vaopd plan {' '.join(PAPER)}"


def test_the_page_shows_what_it_prints(capsys):
    assert cli.main(["plan", *PAPER]) == 0
    printed = capsys.readouterr().out
    assert f"    {COMMAND}\n\n```\n{printed}```\n" in PAGE.read_text()
    assert len(printed.splitlines()) <= 45
    assert all(len(line) <= 120 for line in printed.splitlines())
    assert "not measured on a GPU" in printed


def test_the_same_as_json(capsys):
    assert cli.main(["plan", "--json", "--gpu", "h200", *TINY[1:], "hardware=h200x1"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["fits"] and plan["gpu"]["name"] == "h200"
    for phase, total in plan["memory"]["total"].items():
        assert total == pytest.approx(sum(line["bytes"].get(phase, 0) for line in plan["memory"]["lines"]))
    assert plan["seconds"]["step"] == pytest.approx(sum(phase["seconds"] for phase in plan["seconds"]["phases"]))


def test_what_does_not_fit_is_told_with_its_mend(capsys):
    assert cli.main(["plan", "hardware=h200x1", "teacher=32b", "--response-tokens", "800,4096"]) == 1
    printed = capsys.readouterr().out
    assert "DOES NOT FIT: rollout needs" in printed
    assert "it fits with teacher.param_offload=true" in printed
    assert "responses of 800, the longest of 4096 (given)" in printed
    assert "mean response" not in printed  # no assumption any more


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpu", "b300", *PAPER], "--gpu: got b300"),
        (["--response-tokens", "900,800", *PAPER], "expected MEAN,LONGEST with 0 < MEAN <= LONGEST"),
        (["--response-tokens", "many", *PAPER], "expected MEAN,LONGEST"),
        (["--run", "nowhere", *PAPER], "expected the directory of a run"),
        ([*PAPER, "trainer.n_gpus_per_node=6"], "the batch does not divide evenly"),
        ([*PAPER, "student.path=someone/else"], "the shape of someone/else is not known"),
    ],
)
def test_mistakes(arguments, message, capsys):
    assert cli.main(["plan", *arguments]) == 2
    assert message in capsys.readouterr().err
