"""No tracked file names a package index, or a path of the machine it was written on."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Written in pieces: this file is tracked too.
FORBIDDEN = {
    "path of a machine": re.compile(rb"(?<![\w.])/(?:work/|ro" + rb"ot/|opt/(?:wheels|pypi)|home/\w|Users/\w)"),
    "host of a package index": re.compile(rb"py" + rb"pi\.org|python" + rb"hosted\.org|download\.py" + rb"torch\.org"),
    "option that names an index": re.compile(rb"(?m)^\s*-(?:-index-url|-extra-index-url|-find-links|i|f)[ =]"),
}


def tracked_files() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in names.decode().split("\0") if name and (ROOT / name).is_file()]


def violations(content: bytes) -> list[str]:
    found = ((what, pattern.search(content)) for what, pattern in FORBIDDEN.items())
    return [f"{what}: {match.group().decode()!r}" for what, match in found if match]


def test_tracked_files_name_no_index_and_no_machine_path():
    files = tracked_files()
    assert ROOT / "setup.py" in files
    found = {str(path.relative_to(ROOT)): violations(path.read_bytes()) for path in files}
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "content",
    [
        b"ROOT=/wo" + b"rk/main",
        b'"/ro' + b'ot/.cache"',
        b"UV_FIND_LINKS=/op" + b"t/wheels",
        b"https://py" + b"pi.org/simple",
        b"https://download.py" + b"torch.org/whl/cpu",
        b"numpy==2.0\n--find-links" + b" wheels\n",
        b"--extra-index-url" + b"=https://example.com",
    ],
)
def test_each_kind_of_trace_is_found(content):
    assert len(violations(content)) == 1


@pytest.mark.parametrize("content", [b"docs/work/notes", b"a.work/b", b"--index INDEX", b"pip install -f"])
def test_harmless_text_is_not_found(content):
    assert violations(content) == []
