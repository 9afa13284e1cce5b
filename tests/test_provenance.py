"""Where a result comes from."""

import subprocess

import verl_vaopd
from verl_vaopd import provenance


def git(root, *arguments):
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)


def test_the_commit_and_changes_of_a_checkout(tmp_path, monkeypatch):
    package = tmp_path / "verl_vaopd" / "__init__.py"
    package.parent.mkdir()
    package.write_text("")
    monkeypatch.setattr(verl_vaopd, "__file__", str(package))
    assert provenance.source_version()["reason"] == "the package does not run from a git checkout"
    git(tmp_path, "init")
    assert provenance.source_version()["commit"] is None  # no commit yet
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    clean = provenance.source_version()
    assert len(clean["commit"]) == 40 and clean["dirty"] is False
    package.write_text("changed = True")
    assert provenance.source_version() == clean | {"dirty": True}
