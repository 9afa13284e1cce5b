"""Files are written whole or not at all, and never in the place of what is not ours."""

import errno
import json
import os
import re

import pytest

from verl_vaopd import files
from verl_vaopd.disk import DiskFull, append, told
from verl_vaopd.files import MANIFEST, RECORD, remove_own, require_own_results, result_files, sha256_of, whole_directory


def test_a_failed_write_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "config.yaml"
    files.write_text(path, "old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match=rf"the disk is full: {re.escape(str(path))} is on a file system with .* free"):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def write_whole(path, **texts):
    with whole_directory(path) as unfinished:
        for name, text in texts.items():
            (unfinished / name).write_text(text)
        entries = {name: {"sha256": sha256_of(unfinished / name)} for name in texts}
        (unfinished / MANIFEST).write_text(json.dumps({"files": entries}))


def test_a_directory_of_ours_is_replaced_and_one_with_something_else_is_not(tmp_path):
    path = tmp_path / "data"
    path.mkdir()  # an empty one is in nobody's way
    write_whole(path, a="1", b="2")
    write_whole(path, a="3")
    assert sorted(file.name for file in path.iterdir()) == ["a", MANIFEST]
    for name, text, named in (("notes.txt", "mine", "notes.txt"), ("a", "mine", r"a \(not as it was written\)")):
        kept = (path / "a").read_text()
        (path / name).write_text(text)
        with pytest.raises(ValueError, match=f"got {named}, which this program did not write"):
            write_whole(path, a="4")
        assert (path / name).read_text() == text
        (path / "notes.txt").unlink(missing_ok=True)
        (path / "a").write_text(kept)
    write_whole(path, a="4")
    assert (path / "a").read_text() == "4"
    assert [file.name for file in tmp_path.iterdir()] == ["data"]


def test_a_link_to_a_directory_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    write_whole(tmp_path / "link", a="1")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there" / "a").read_text() == "1"


def test_results_are_ours_while_they_are_as_they_were_written(tmp_path):
    directory = tmp_path / "eval"

    def write(text):
        with result_files(directory) as staged:
            (staged / "table.md").write_text(text)

    for text in ("1", "2", "2", "3"):
        write(text)
    (directory / "notes.txt").write_text("mine")
    assert (directory / "table.md").read_text() == "3"
    assert sorted(path.name for path in directory.iterdir()) == [RECORD, "notes.txt", "table.md"]
    (directory / "table.md").write_text("3, as I see it")
    for refused in (lambda: write("4"), lambda: require_own_results(directory, ["table.md"])):
        with pytest.raises(ValueError, match=r"got table\.md, which is not recorded as a result of this program"):
            refused()
    assert (directory / "table.md").read_text() == "3, as I see it"
    (directory / "table.md").unlink()
    write("4")


def test_a_process_that_is_killed_before_its_last_rename_leaves_results_of_ours(tmp_path, monkeypatch):
    with result_files(tmp_path) as staged:
        (staged / "table.md").write_text("1")

    def all_but_the_table(self, path):
        if path.name != "table.md":
            os.replace(self, path)

    with monkeypatch.context() as killed:
        killed.setattr(files.Path, "replace", all_but_the_table)
        with result_files(tmp_path) as staged:
            (staged / "table.md").write_text("2")
    assert (tmp_path / "table.md").read_text() == "1"
    require_own_results(tmp_path, ["table.md"])


def test_removing_what_is_ours_leaves_the_rest(tmp_path):
    path = tmp_path / "step"
    for name in ("actor/model.pt", "actor/notes.txt", "data.pt"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("x")
    assert remove_own(path, ["actor/model.pt", "data.pt", "gone.pt"]) == ["actor/notes.txt"]
    assert remove_own(path, ["actor/notes.txt"]) == []
    assert not path.exists()


def test_a_line_that_does_not_fit_leaves_no_half_of_it(tmp_path, monkeypatch):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"whole\n")
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
    write = os.write

    def three_bytes(_, data):
        if os.fstat(descriptor).st_size > len("whole\n"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:3])

    with monkeypatch.context() as small:
        small.setattr(os, "write", three_bytes)
        with pytest.raises(DiskFull, match="this file needs about 11 bytes"):
            append(descriptor, b"half a line", path)
    assert path.read_bytes() == b"whole\n"
    append(descriptor, b"next\n", path)
    os.close(descriptor)
    assert path.read_bytes() == b"whole\nnext\n"


def test_what_the_system_says_comes_with_what_to_do(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError) as error:
        (tmp_path / "file" / "below").mkdir()
    assert told(error.value) == (
        f"{tmp_path}/file/below: Not a directory; a file is where a directory is needed: move it away, or name another "
        "place"
    )
