"""The checks that start nothing: what each measures, and that it fails."""

from __future__ import annotations

import importlib.metadata
import json
import socket
from pathlib import Path

import pytest

from tests.config.conftest import CPU, PAPER, TOKENS, eight_gpus, write_model
from verl_vaopd.config import ConfigError, compose, examine, validate
from verl_vaopd.config.checks import machine
from verl_vaopd.config.checks.preflight import STATIC
from verl_vaopd.runs import run_dir

GENERATION = {"eos_token_id": [2, 3], "pad_token_id": 3}
IMAGES = {"patch_size": 16, "merge_size": 2, "size": {"shortest_edge": 1024, "longest_edge": 4096}}


def write_files(path: Path, **changes: object) -> Path:
    """A model with all the small files that are compared; `changes` replace their contents."""
    write_model(path, tokens=TOKENS, text_config={"vocab_size": 16, "max_position_embeddings": 4096})
    contents = {
        "generation_config.json": GENERATION,
        "tokenizer_config.json": {"eos_token": "b", "pad_token": {"content": "bc"}},
        "preprocessor_config.json": IMAGES,
        "chat_template.jinja": "{{ messages }}\nthe end",
    }
    for name, content in {**contents, **changes}.items():
        (path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def outcomes(*overrides: str) -> dict[str, tuple[str, str]]:
    """(outcome, what was measured) of every check."""
    cfg = compose([*CPU, *overrides])
    return {found.check: (found.outcome(cfg.preflight.waive), found.measured) for found in examine(cfg)[0]}


def test_every_check_says_what_it_measured(workplace):
    found = outcomes()
    assert list(found) == list(STATIC)
    assert {outcome for outcome, _ in found.values()} <= {"passed", "skipped"}
    assert all(measured for _, measured in found.values())
    assert found["divisibility"][1].startswith("8 prompts x 4 rollouts on 1 ranks")
    assert "rollouts at 0.7, top-p 0.95; reverse_kl at 2 for both" in outcomes("loss.temperature=2")["temperatures"][1]


@pytest.mark.parametrize(
    ("name", "content", "check", "told"),
    [
        ("chat_template.jinja", "{{ messages }}\nanother end", "chat_template", "line 2: 'the end' in the student"),
        ("chat_template.jinja", "{{ messages }}", "chat_template", "line 2: 'the end' in the student, 'nothing' in"),
        ("generation_config.json", {**GENERATION, "eos_token_id": 2}, "end_tokens", "ids [1, 2, 3] in the student"),
        ("tokenizer_config.json", {"eos_token": "b", "pad_token": "c"}, "end_tokens", "different pad tokens"),
        ("preprocessor_config.json", {**IMAGES, "patch_size": 14}, "image_grid", "16 in the student, 14 in the"),
        ("preprocessor_config.json", {**IMAGES, "size": None}, "image_grid", "differently (size)"),
    ],
)
def test_a_teacher_that_differs(tmp_path, name, content, check, told):
    student, same = write_files(tmp_path / "student"), write_files(tmp_path / "same")
    other = write_files(tmp_path / "other", **{name: content})
    agree = outcomes(f"student.path={student}", f"teacher.path={same}")
    assert agree["end_tokens"] == ("passed", "responses end at ids [1, 2, 3], padding is [3]")
    heads = (f"{role} 4 ids, 16 rows of the head, 12 left out" for role in ("student", "teacher"))
    assert agree["tokens"][1] == "; ".join(heads)
    found = outcomes(f"student.path={student}", f"teacher.path={other}")
    assert [each for each, (outcome, _) in found.items() if outcome == "failed"] == [check]
    assert told in found[check][1]
    (tmp_path / "other" / name).unlink()
    assert outcomes(f"student.path={student}", f"teacher.path={other}")[check][0] in ("skipped", "failed")


def test_a_failure_is_waived_by_name_and_by_no_other(tmp_path):
    paths = [f"student.path={write_files(tmp_path / 'student')}"]
    paths += [f"teacher.path={write_files(tmp_path / 'teacher', **{'chat_template.jinja': 'x'})}"]
    with pytest.raises(ConfigError, match="different chat templates"):
        validate(compose([*CPU, *paths, "preflight.waive=[ports]"]))
    found = validate(compose([*CPU, *paths, "preflight.waive=[chat_template]"]))
    assert {each.check for each in found if not each.passed} == {"chat_template"}


def test_what_is_checked_is_no_part_of_what_a_run_is():
    """A run that a check has stopped goes on with a waiver."""
    plain, waived = (compose([*CPU, *more]) for more in ((), ("preflight.waive=[ports]", "preflight.num_prompts=2")))
    assert run_dir.fingerprint(plain) == run_dir.fingerprint(waived)


def test_another_version_of_what_counts(monkeypatch):
    machine._other_versions.cache_clear()
    real = importlib.metadata.version
    monkeypatch.setattr(
        machine.importlib.metadata, "version", lambda name: "0.0.1" if name in ("ray", "absl-py") else real(name)
    )
    try:
        found = outcomes()["versions"]
    finally:
        machine._other_versions.cache_clear()
    assert found[0] == "failed" and "ray 0.0.1" in found[1] and "absl" not in found[1]


@pytest.mark.parametrize(("version", "outcome"), [("580.65.06", "passed"), ("570.1", "failed"), (None, "skipped")])
def test_the_driver(monkeypatch, version, outcome):
    monkeypatch.setattr(machine, "driver_version", lambda: version)
    found = {each.check: each.outcome(()) for each in examine(compose(PAPER), eight_gpus)[0]}
    assert found["drivers"] == outcome


def test_an_address_that_is_not_this_machines(monkeypatch):
    monkeypatch.setattr(socket, "gethostbyname", lambda name: "192.0.2.1")  # of documentation: nobody has it
    outcome, measured = outcomes()["ports"]
    assert outcome == "failed" and "192.0.2.1" in measured
