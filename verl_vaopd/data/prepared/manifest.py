"""manifest.json of a prepared directory: what it was made from and how, what was kept and dropped, hashes of its files.

    dataset, request, sources   what was asked for, and the files it was made from with their SHA-256
    splits                      {split: {published, kept, not_drawn, dropped: {reason: count}, ids}}
    dropped                     [{split, id, reason, got}]
    files                       {name: {sha256, rows, bytes}}: as files.whole_directory asks for

Imports neither torch nor verl.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from verl_vaopd.data.files import content_of
from verl_vaopd.files import MANIFEST, sha256_of


def read(directory: Path) -> dict[str, Any] | None:
    """The manifest of a directory that `vaopd prepare` has written; None for any other."""
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    ours = isinstance(manifest, dict) and {"dataset", "request", "sources", "splits", "files"} <= manifest.keys()
    return manifest if ours else None


def changed_files(directory: Path, manifest: dict[str, Any]) -> list[str]:
    """Files that are missing, or not as they were written."""
    return [
        name
        for name, entry in manifest["files"].items()
        if not (directory / name).is_file() or sha256_of(directory / name) != entry["sha256"]
    ]


def is_as_prepared(file: Path) -> bool:
    """False for a data file in a prepared directory that is not what `vaopd prepare` has written under its name."""
    manifest = read(file.parent)
    return manifest is None or file.name not in manifest["files"] or content_of(file) == _sha256(manifest, file)


def _sha256(manifest: dict[str, Any], file: Path) -> str:
    return manifest["files"][file.name]["sha256"]
