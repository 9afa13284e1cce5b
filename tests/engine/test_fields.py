"""The table of fields is what travels: pages, requests and modules go by it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import verl_vaopd
from verl_vaopd.algorithms.divergences import ReverseKL
from verl_vaopd.config.objective import Objective
from verl_vaopd.engine import fields
from verl_vaopd.engine.fields import FIELDS
from verl_vaopd.runs.per_token import PER_TOKEN
from verl_vaopd.teacher.request import ScoreRequest
from verl_vaopd.trainer.placement import TeacherGroup
from verl_vaopd.trainer.reporting import reported

PACKAGE = Path(verl_vaopd.__file__).parent
PAGE = PACKAGE.parent / "docs" / "data_flow.md"
MODULES = sorted(
    path for room in ("engine", "actor", "teacher", "rollout", "trainer") for path in (PACKAGE / room).glob("*.py")
)
HOLDERS = {"data", "micro_batch", "batch", "view", "outputs", "scores", "values", "tensors", "extra"}
"""Names that the modules give to what holds fields of rollouts, by name."""
CALLS = {"fetch", "request", "load_rollouts", "load_more"}
"""Functions of trainer/rows.py that take names of fields after the batch."""
EVERYTHING = Objective(
    ReverseKL(), measures_advantage=True, reward_coef=1.0, use_reference=True, perception_coef=1.0, privileged=True
)


def named(side: str, who: str) -> set[str]:
    """Fields that `who` has on this side, without those that stay with the student."""
    stay = {name for name, field in FIELDS.items() if field.written_by == field.read_by == "student"}
    return {name for name, field in FIELDS.items() if who in getattr(field, side).split(", ")} - stay


def spelled(source: str) -> Iterator[str]:
    """Strings that stand where a name of a field does."""
    for node in ast.walk(ast.parse(source)):
        places: list[ast.AST] = []
        match node:
            case ast.Subscript(value=ast.Name(id=name)) if name in HOLDERS:
                places = [node.slice]
            case ast.Compare(ops=[ast.In() | ast.NotIn()], comparators=[ast.Name(id=name)]) if name in HOLDERS:
                places = [node.left]
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="pop" | "get")) if name in HOLDERS:
                places = node.args[:1]
            case ast.Call(func=ast.Attribute(attr=name)) if name in CALLS:
                places = [part for argument in node.args[1:] for part in ast.walk(argument)]
            case ast.Call(func=ast.Attribute(value=ast.Name(id="rows"), attr="store")):
                yield from (keyword.arg for keyword in node.keywords if keyword.arg)
        yield from (place.value for place in places if isinstance(place, ast.Constant) and isinstance(place.value, str))


def test_the_page_shows_the_table() -> None:
    assert fields.as_markdown() in PAGE.read_text().split("\n## What travels, per rollout\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_module_spells_a_field_that_is_not_in_the_table(path: Path) -> None:
    of_verl = {"model_output"}  # what verl's engine returns beside its losses
    of_passes = {"teacher_hidden", "degraded_hidden"}  # arguments of the student's response_forward
    assert set(spelled(path.read_text())) - of_verl - of_passes <= FIELDS.keys()


def test_the_search_finds_what_is_spelled() -> None:
    source = """
a = data["b"], "c" in micro_batch, outputs.pop("d", None), extra.get("e")
rows.request(batch, [*first, "f"], keep=True)
values |= rows.fetch(batch, ("g",))
rows.store(batch, h=1)
"""
    assert sorted(spelled(source)) == list("bcdefgh")


def test_the_teacher_reads_and_writes_what_the_table_says() -> None:
    request = ScoreRequest(True, True, True, privileged=True)
    assert set(request.reads) == named("read_by", "teacher")
    assert set(ScoreRequest.for_heldout().reads) == named("read_by", "teacher") - {fields.PRIVILEGED_INPUTS}


def test_the_student_reads_what_the_table_says() -> None:
    group = object.__new__(TeacherGroup)
    group.colocated, group.objective = False, EVERYTHING
    read = [*group.update_fields(), *group.forward_fields(scored=True, degraded=True)]
    assert set(read) == named("read_by", "student")


def test_what_is_reported_is_written_by_somebody() -> None:
    assert set(reported(EVERYTHING)) <= named("written_by", "student") | {
        fields.TEACHER_LOG_PROBS,
        fields.ROLLOUT_LOG_PROBS,
    }


def test_both_tables_agree() -> None:
    """A value per token that travels has the shape and dtype of its field; two are made where they are used."""
    travel = PER_TOKEN.keys() & FIELDS.keys()
    assert PER_TOKEN.keys() - travel == {"visual_advantage", "high_group"}
    assert {FIELDS[name].shape for name in travel} == {"(T)"}
    assert all(FIELDS[name].dtype == PER_TOKEN[name].dtype for name in travel)
