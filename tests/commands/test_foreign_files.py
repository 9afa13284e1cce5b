"""Every command that writes, with somebody's own file where it would write: the file stays, is named, and nothing else
appears. The data sets' part is in tests/data, that of checkpoints in tests/runs."""

import json
from pathlib import Path

import pytest

from tests.commands.stand_in_training import write_run
from verl_vaopd import cli
from verl_vaopd.runs import run_dir

TINY = ["hardware=cpu", "student=tiny", "teacher=tiny", "dataset=tinygeo"]
TRAIN = ["train", *TINY]
SFT = [*TINY, "method=cot_sft", "collect.path=mine"]
COMPARE = ["compare", *TINY, "method=opd,vaopd", "seeds=0", "run.name=mine"]
TWO_STAGE = ["two-stage", *TINY, "stage1=opd", "stage2=grpo", "run.name=mine"]
EVAL = ["eval", "benchmarks=custom", "files.custom=questions.jsonl", "responses=responses.jsonl", "n=1"]
JUDGED = ["eval", "benchmarks=mmstar", "files.mmstar=questions.jsonl", "responses=responses.jsonl", "n=1"]
JUDGE = ["protocol=official", "judge.model=m", "judge.endpoint=http://localhost:9/v1"]
MINE = b"somebody's own, without a line's end"

# (command, the file that is in its way)
CASES = [
    ([*TRAIN, "run.name=mine"], "runs/mine/notes.txt"),
    ([*TRAIN, "run.name=mine"], "runs/mine/config.yaml"),
    ([*TRAIN, "run.name=mine"], "runs/mine/versions.json"),
    ([*TRAIN, "run.name=mine"], "runs/mine"),
    ([*TRAIN, "run.root=mine"], "mine"),
    ([*TRAIN, "run.root=mine/below"], "mine"),
    ([*TRAIN, "dataset.root=mine"], "mine/train.parquet"),
    ([*TRAIN, "dataset.root=mine"], "mine/manifest.json"),
    ([*TRAIN, "dataset.root=mine"], "mine"),
    (["train", *SFT], "mine/notes.txt"),
    (["collect", *SFT], "mine/notes.txt"),
    (["collect", *SFT], "mine/part-00000.parquet"),
    (["collect", *SFT], "mine/manifest.json"),
    (["collect", *SFT], "mine"),
    (["collect", *TINY, "method=cot_sft", "dataset.root=mine"], "mine/train.parquet"),
    *((COMPARE, f"runs/compare-mine/{name}") for name in ("comparison.md", "questions.parquet", "vaopd-s0/notes.txt")),
    (COMPARE, "runs/compare-mine"),
    *((TWO_STAGE, f"runs/two-stage-mine/{name}") for name in ("two_stage.md", "stage2/x", "end/x", "measured-end/x")),
    (["report", "run"], "run/learning_curve.png"),
    (["export", "run", "--checkpoint", "last", "--out", "mine"], "mine/notes.txt"),
    (["export", "run", "--checkpoint", "last", "--out", "mine"], "mine"),
    *(([*EVAL, "out=mine"], f"mine/{name}") for name in ("table.md", "details.csv", "speed.jsonl")),
    *(([*EVAL, "out=mine"], f"mine/custom/{name}") for name in ("questions.jsonl", "responses.jsonl")),
    ([*EVAL, "out=mine"], "mine/custom/scores-rule.jsonl"),
    ([*EVAL, "out=mine"], "mine"),
    ([*JUDGED, *JUDGE, "judge.cache=mine"], "mine"),
    (["eval", "table", "scored", "--out", "mine"], "mine/table.csv"),
    (["eval", "table", "scored", "--out", "mine"], "mine"),
    (["eval", "crosscheck", "--backend", "vlmevalkit", "--python", "python3", "--out", "mine"], "mine/notes.txt"),
    (["tinygeo", "build", "--quick", "--out", "mine"], "mine/notes.txt"),
    (["tinygeo", "build", "--quick", "--out", "mine"], "mine"),
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the commands read: a trained run, questions and responses, and an evaluation; {relative name: content}."""
    root = tmp_path_factory.mktemp("inputs")
    with pytest.MonkeyPatch.context() as here:
        here.chdir(root)
        run = root / "run"
        run.mkdir()
        write_run(run, "opd", 0)
        (run / run_dir.CONFIG).write_text("validation: {n: 8}\n")
        (run / run_dir.VERSIONS).write_text('{"config_sha256": "x"}')
        Path("questions.jsonl").write_text('{"id": "q", "question": "1 + 0?", "answer": "1"}\n')
        Path("responses.jsonl").write_text(json.dumps({"question": "q", "sample": 0, "response": "\\boxed{1}"}) + "\n")
        assert cli.main([*EVAL, "out=scored"]) == 0
    return files_in(root)


def files_in(root: Path) -> dict[str, bytes]:
    found = (path for path in sorted(root.rglob("*")) if path.is_file() and not path.is_symlink())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


def put(root: Path, name: str, content: bytes) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(content)


@pytest.mark.parametrize(("words", "name"), CASES, ids=lambda value: value if isinstance(value, str) else value[0])
def test_a_file_that_is_in_the_way_stays(words, name, inputs, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("verl_vaopd.commands.crosscheck.check_interpreter", lambda backend, python: python)
    for each, content in inputs.items():
        put(tmp_path, each, content)
    put(tmp_path, name, MINE)
    before = files_in(tmp_path)
    code = cli.main(words)
    said = capfd.readouterr()
    assert code == cli.USAGE_ERROR, said
    assert Path(name).name in said.err and "Traceback" not in said.err, said.err
    left = files_in(tmp_path)
    assert left.pop(name) == before.pop(name), "the file was changed"
    assert left == before, "the refused command left something behind"


def test_what_was_written_is_replaced_until_somebody_changes_it(inputs, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for each, content in inputs.items():
        put(tmp_path, each, content)
    for command in ([*EVAL, "out=mine"], ["eval", "table", "scored", "--out", "tables"], ["report", "run"]):
        assert [cli.main(command), cli.main(command)] == [0, 0], capfd.readouterr()
    for command, name in (
        ([*EVAL, "out=mine"], "mine/table.md"),
        (["eval", "table", "scored", "--out", "tables"], "tables/table.tex"),
        (["report", "run"], "run/learning_curve.png"),
    ):
        put(tmp_path, name, MINE)
        assert cli.main(command) == cli.USAGE_ERROR
        assert (tmp_path / name).read_bytes() == MINE
