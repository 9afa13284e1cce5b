"""Which files a benchmark's questions are read from: their SHA-256, and of fetched ones repository and commit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from verl_vaopd.evaluation.published import files_of
from verl_vaopd.files import MANIFEST, sha256_of

ORIGIN = "files.json"
"""Where a run keeps it, beside the questions."""


def origin_of(path: Path, splits: Sequence[str]) -> dict[str, Any]:
    """`path`, `files` ({name: SHA-256}), and `repository` and `commit`, null for files that were not fetched.

    Args:
        path, splits: as published.files_of.
    Raises:
        ValueError: a file that was fetched and is another one now, and as published.files_of.
    """
    manifest = fetched_manifest(path)
    names = {file: file.name if file == path else file.relative_to(path).as_posix() for file in files_of(path, splits)}
    digests = {name: sha256_of(file) for file, name in names.items()}
    for name, digest in digests.items():
        if manifest and digest != manifest["files"].get(name, {}).get("sha256"):
            raise ValueError(
                f"{path}: got {name} with SHA-256 {digest}, expected the files that `vaopd eval fetch` wrote and no "
                f"other, as {MANIFEST} lists them; move the directory away and fetch it again, or remove {MANIFEST} if "
                "the change is yours"
            )
    return {
        "path": str(path.absolute()),
        "repository": manifest.get("repository"),
        "commit": manifest.get("commit"),
        "files": digests,
    }


def fetched_manifest(directory: Path) -> dict[str, Any]:
    """What `vaopd eval fetch` has written about a directory; {} where it has not written it."""
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        return manifest if manifest.keys() >= {"repository", "commit", "files"} else {}
    except (OSError, ValueError, AttributeError):
        return {}


def note(origin: dict[str, Any]) -> str:
    """A line for a reader about files that were fetched; empty for others."""
    if origin["repository"] is None:
        return ""
    return f"{origin['path']}: {origin['repository']} at {origin['commit'][:8]}, as fetched\n"
