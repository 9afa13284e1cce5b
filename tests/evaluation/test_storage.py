import json

import pytest

from verl_vaopd.evaluation.storage import Journal, fingerprint, read_identity, read_rows

IDENTITY = {"model": "a", "sampling": {"temperature": 1.0}, "seed": 0}


def test_rows_come_back_in_order_behind_their_header(tmp_path):
    path = tmp_path / "deep" / "rows.jsonl"
    with Journal(path, IDENTITY) as journal:
        journal.append([{"x": 1, "text": "π\u2028\n"}, {"x": 2}])
        journal.append([{"x": "\ud83d half of a character"}])
    assert read_identity(path) == IDENTITY
    assert list(read_rows(path)) == [{"x": 1, "text": "π\u2028\n"}, {"x": 2}, {"x": "\ud83d half of a character"}]


@pytest.mark.parametrize("cut", [1, 5, 100_000])
def test_half_a_line_is_passed_over_and_cut_off(tmp_path, cut):
    path = tmp_path / "rows.jsonl"
    with Journal(path, IDENTITY) as journal:
        journal.append([{"x": 1}])
    whole = path.read_bytes()
    path.write_bytes(whole + (json.dumps({"x": "y" * 200_000}).encode())[:cut])
    assert list(read_rows(path)) == [{"x": 1}]
    with Journal(path, IDENTITY) as journal:
        assert path.read_bytes() == whole
        journal.append([{"x": 2}])
    assert list(read_rows(path)) == [{"x": 1}, {"x": 2}]


def test_half_a_header_is_no_header(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"identity": {"mo')
    with Journal(path, IDENTITY) as journal:
        journal.append([{"x": 1}])
    assert list(read_rows(path)) == [{"x": 1}]


def test_another_identity_is_refused_and_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    with Journal(path, IDENTITY) as journal:
        journal.append([{"x": 1}])
    before = path.read_bytes()
    with pytest.raises(
        ValueError, match=r"sampling: \{'temperature': 1.0\} there, \{'temperature': 0.7\} now"
    ) as error:
        Journal(path, {**IDENTITY, "sampling": {"temperature": 0.7}}).__enter__()
    assert "model" not in str(error.value) and "seed" not in str(error.value)
    assert path.read_bytes() == before
    with Journal(path, IDENTITY):  # the refused one holds no lock
        pass


def test_two_writers_are_kept_apart(tmp_path):
    path = tmp_path / "rows.jsonl"
    with Journal(path, IDENTITY), pytest.raises(ValueError, match="another process is writing"):
        Journal(path, IDENTITY).__enter__()


def test_what_is_no_journal_is_refused(tmp_path):
    with pytest.raises(ValueError, match="run the evaluation first"):
        read_rows(tmp_path / "none.jsonl")
    (tmp_path / "rows.jsonl").write_text('{"x": 1}\n')
    with pytest.raises(ValueError, match="no header"):
        read_rows(tmp_path / "rows.jsonl")
    (tmp_path / "rows.jsonl").write_text('{"identity": {}}\n{"x": 1}\noops\n{"x": 2}\n')
    with pytest.raises(ValueError, match="line 3"):
        list(read_rows(tmp_path / "rows.jsonl"))


def test_fingerprint_depends_on_values_and_not_on_their_order():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 3})
