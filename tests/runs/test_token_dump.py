import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from verl_vaopd.runs import token_dump as dump_module
from verl_vaopd.runs.per_token import DUMPED, PER_TOKEN
from verl_vaopd.runs.token_dump import SCHEMA, TokenDump, TokenRow, fixed_subset, read_dumps


def _row(per_token=None, **changes):
    values = {
        "uid": "u0",
        "question_id": "q0",
        "rollout_index": 1,
        "prompt": "How long is AB?",
        "response": "5°",
        "token_ids": [3, 9, 8],
        "tokens": ["5", "", "°"],
        "truncated": False,
    }
    return TokenRow(**{**values, **changes}, per_token=per_token or {})


def test_rows_have_the_columns_of_the_schema():
    names = {field.name for field in dataclasses.fields(TokenRow)} - {"per_token"}
    assert names | {"step", "split", *DUMPED} == set(SCHEMA.names)
    optional = {field.name for field in dataclasses.fields(TokenRow) if field.default is None}
    assert optional | set(DUMPED) == {field.name for field in SCHEMA if field.nullable} == {*DUMPED, "accuracy"}


def test_the_file_format_is_that_of_version_2():
    """Pinned: analyses of other versions of the package read these files, and this one's analyses read theirs."""
    fields = [field for field in SCHEMA if pa.types.is_list(field.type) and field.nullable]
    per_token = [(field.name, str(field.type.value_type), field.metadata[b"meaning"].decode()) for field in fields]
    assert per_token == [
        ("visual_advantage", "float", "visual advantage [nats]"),
        ("teacher_log_probs", "float", "by the teacher, clean image [nats]"),
        ("degraded_teacher_log_probs", "float", "degraded image [nats]"),
        ("reverse_kl", "float", "KL(student || teacher), clean image [nats]"),
        ("token_weights", "float", "weight of the token in the step's loss [1]"),
        ("high_group", "bool", "token is in the high visual advantage group"),
        ("student_entropy", "float", "at temperature 1 [nats]"),
        ("teacher_entropy", "float", "at temperature 1, clean image [nats]"),
        ("rollout_log_probs", "float", "by the rollout engine [nats]"),
    ]
    own = ["step", "split", "uid", "question_id", "rollout_index", "prompt", "response", "token_ids", "tokens"]
    assert SCHEMA.names == [*own, *(name for name, *_ in per_token), "accuracy", "truncated"]


def test_everything_written_comes_back(tmp_path):
    values = {name: np.float32([0.5, 0.0, 1.25]) for name in DUMPED}
    values |= {"high_group": [True, False, False]}
    row = _row(values, accuracy=1.0, truncated=True)
    path = TokenDump(tmp_path).write(40, "train", [row])
    assert path == tmp_path / "tokens" / "train_step_40.parquet"
    (got,) = read_dumps(tmp_path).to_pylist()
    expected = {**dataclasses.asdict(row), **{name: list(values[name]) for name in DUMPED}}
    del expected["per_token"]
    assert got == {**expected, "step": 40, "split": "train"}


def test_what_a_method_does_not_produce_is_null(tmp_path):
    TokenDump(tmp_path).write(0, "heldout", [_row(), _row({"reverse_kl": [0.0, 0.0, 0.0]})])
    table = read_dumps(tmp_path)
    assert table.schema.equals(SCHEMA)
    for name in DUMPED:
        expected = [None, [0.0, 0.0, 0.0]] if name == "reverse_kl" else [None, None]
        assert table[name].to_pylist() == expected
    assert table["accuracy"].to_pylist() == [None, None]


def test_file_explains_itself(tmp_path):
    schema = pq.read_schema(TokenDump(tmp_path).write(0, "heldout", [_row()]))
    assert schema.metadata[b"vaopd.dump.schema_version"] == b"2"
    assert all(field.metadata[b"meaning"] for field in schema)
    assert b"[nats]" in schema.field("visual_advantage").metadata[b"meaning"]


def test_dumps_are_read_by_split_and_step(tmp_path):
    dump = TokenDump(tmp_path)
    for step, split in ((10, "train"), (9, "train"), (100, "heldout"), (20, "heldout")):
        dump.write(step, split, [_row()])
    assert read_dumps(tmp_path).select(["split", "step"]).to_pydict() == {
        "split": ["heldout", "heldout", "train", "train"],
        "step": [20, 100, 9, 10],
    }
    assert read_dumps(tmp_path, "train")["step"].to_pylist() == [9, 10]


def test_repeated_step_replaces_its_file(tmp_path):
    dump = TokenDump(tmp_path)
    dump.write(5, "train", [_row(uid="before the kill"), _row()])
    TokenDump(tmp_path).write(5, "train", [_row(uid="resumed")])
    assert read_dumps(tmp_path)["uid"].to_pylist() == ["resumed"]


def test_interrupted_write_leaves_the_earlier_file_and_no_broken_one(tmp_path, monkeypatch):
    dump = TokenDump(tmp_path)
    dump.write(5, "train", [_row(uid="whole")])

    def killed_half_way(table, where, **options):
        where.write_bytes(b"PAR1 half of a fi")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dump_module.pq, "write_table", killed_half_way)
        for step in (5, 6):
            with pytest.raises(KeyboardInterrupt):
                dump.write(step, "train", [_row(uid="new")])
    assert read_dumps(tmp_path)["uid"].to_pylist() == ["whole"]
    dump.write(6, "train", [_row(uid="new")])
    assert read_dumps(tmp_path)["uid"].to_pylist() == ["whole", "new"]
    assert sorted(p.name for p in (tmp_path / "tokens").glob("*6*")) == ["train_step_6.parquet"]


def test_no_rows_are_a_file_without_rows(tmp_path):
    TokenDump(tmp_path).write(1, "train", [])
    assert read_dumps(tmp_path).num_rows == 0


@pytest.mark.parametrize("name", ["tokens", "visual_advantage", "high_group"])
def test_padding_left_in_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} of rollout 1 of q0 has 4 entries, expected 3"):
        _row(tokens=["0"] * 4) if name == "tokens" else _row({name: [0] * 4})


def test_missing_values_are_refused_where_every_rollout_has_one(tmp_path):
    for row in (_row(question_id=None), _row({"visual_advantage": [0.0, None, 1.0]})):
        with pytest.raises(ValueError, match="non-nullable"):
            TokenDump(tmp_path).write(0, "train", [row])
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize(("step", "split"), [(0, "test"), (-1, "train")])
def test_unknown_split_or_step_is_refused(tmp_path, step, split):
    with pytest.raises(ValueError, match="expected one of"):
        TokenDump(tmp_path).write(step, split, [])


def test_reading_says_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="no token dumps"):
        read_dumps(tmp_path)
    TokenDump(tmp_path).write(0, "train", [_row()])
    with pytest.raises(ValueError, match=r"tokens/heldout_step_\*"):
        read_dumps(tmp_path, "heldout")
    old = SCHEMA.empty_table().replace_schema_metadata({"vaopd.dump.schema_version": "0"})
    pq.write_table(old, tmp_path / "tokens" / "train_step_1.parquet")
    with pytest.raises(ValueError, match="version 0, expected 2"):
        read_dumps(tmp_path)
    (tmp_path / "tokens" / "train_step_1.parquet").rename(tmp_path / "tokens" / "copy.parquet")
    with pytest.raises(ValueError, match="unknown file"):
        read_dumps(tmp_path)


@pytest.mark.parametrize("name", ["kl", next(name for name, value in PER_TOKEN.items() if not value.dumped)])
def test_values_without_a_column_are_refused(name):
    with pytest.raises(ValueError, match=f"got {name}, expected names among visual_advantage"):
        _row({name: [0.0] * 3})


def test_subset_is_the_same_whatever_the_order_and_the_repeats():
    keys = [f"question {i}" for i in range(40)]
    chosen = fixed_subset(keys, 8, seed=1)
    assert len(set(chosen)) == 8
    assert fixed_subset(keys[::-1] * 2, 8, seed=1) == chosen[::-1]
    assert chosen == sorted(chosen, key=keys.index)
    # Pinned: dumps of two versions of the package must hold the same questions.
    assert fixed_subset(["a", "b", "c", "d", "e"], 2, seed=0) == ["c", "d"]


def test_subset_survives_the_loss_of_other_keys():
    keys = list(range(40))
    chosen = fixed_subset(keys, 8, seed=1)
    assert fixed_subset([key for key in keys if key in chosen or key % 2], 8, seed=1) == chosen


def test_seeds_choose_differently_and_evenly():
    counts = np.zeros(10)
    for seed in range(2000):
        counts[fixed_subset(range(10), 3, seed)] += 1
    # 600 expected each, standard deviation sqrt(2000 * 0.3 * 0.7) = 20.5
    assert np.abs(counts - 600).max() < 4 * 20.5


def test_subset_of_too_few_is_all_of_them():
    assert fixed_subset(["b", "a"], 3, seed=0) == ["b", "a"]
    assert fixed_subset(["b", "a"], 0, seed=0) == []
    with pytest.raises(ValueError, match="n: got -1"):
        fixed_subset(["a"], -1, seed=0)
