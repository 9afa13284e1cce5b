"""Files and directories that are written whole or not at all, and never in the place of what is not ours.

Whole: under a temporary name beside the final one, flushed to disk, then renamed. A process that is killed leaves the
old content, or none; so does a disk that is full, which is told with its place.

Ours: a directory that is made as a whole (`whole_directory`) has a manifest.json with the SHA-256 of all its files; one
that results are written into (`result_files`) has a record of those. What is not listed there, or is not as it was
written, is somebody's work: it is named, and nothing is changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verl_vaopd.disk import told_if_full

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST = "manifest.json"
RECORD = ".vaopd-results.json"


@contextlib.contextmanager
def whole_file(path: Path, needed: int | None = None) -> Iterator[Path]:
    """The path to write to; what is there at the end takes the place of `path`. An error leaves `path` as it was.

    For files in directories of ours, such as a run's; elsewhere: result_files.

    Args:
        needed: bytes, about, to be told where the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with told_if_full(path, needed):
            yield temporary
            flush(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """The directory to write to, empty and beside `path`; at the end it takes the place of `path` and all in it.

    What is written must have a manifest.json, if it is ever to be replaced: {"files": {relative name: {"sha256": ...}}}
    of everything else. An error leaves `path` as it was. Of two writers the later one wins.

    Raises:
        ValueError: there is something else than what an earlier call has written.
    """
    require_replaceable(path)
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    old = temporary.with_name(f"{temporary.name}.old")
    try:
        temporary.chmod(0o755)
        with told_if_full(path):
            yield temporary
        require_replaceable(path)
        own = [*_manifest_files(path), MANIFEST]
        with contextlib.suppress(FileNotFoundError):
            path.rename(old)
        temporary.rename(path)
        remove_own(old, own)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def require_replaceable(path: Path) -> None:
    """Raise ValueError unless `path` is absent, empty, or holds nothing but what its manifest.json lists, unchanged."""
    if not path.exists():
        return
    files = _manifest_files(path) if path.is_dir() else {}
    others = [name for name in content(path) if name not in (*files, MANIFEST)]
    if not files and MANIFEST in content(path):
        others.append(MANIFEST)
    changed = [
        name for name, entry in files.items() if (path / name).is_file() and sha256_of(path / name) != entry["sha256"]
    ]
    if others or changed:
        there = _listed([*others, *(f"{name} (not as it was written)" for name in changed)])
        raise ValueError(
            f"{path}: got {there}, which this program did not write and so does not replace; expected a new or empty "
            "directory, or one that it wrote; move that away, or name another directory"
        )


@contextlib.contextmanager
def result_files(directory: Path) -> Iterator[Path]:
    """A directory to write results to; at the end its files take their places in `directory`, which a person names.

    Raises:
        ValueError: a file of such a name is there that this function did not write, or that was changed since.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with told_if_full(directory), tempfile.TemporaryDirectory(prefix=".results.", dir=directory) as temporary:
        yield Path(temporary)
        staged = sorted(Path(temporary).iterdir())
        require_own_results(directory, [path.name for path in staged])
        known = _recorded(directory)
        # Before the renames: a process that is killed between them leaves files of which one hash or the other holds.
        pairs = [(directory / path.name, path) for path in staged]
        record = {new.name: [sha256_of(file) for file in (old, new) if file.exists()] for old, new in pairs}
        write_text(directory / RECORD, json.dumps(known | record, indent=1) + "\n")
        for old, new in pairs:
            new.replace(old)


def require_own_results(directory: Path, names: Iterable[str]) -> None:
    """Raise ValueError if result_files could not write files of these names: call it before the work begins."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise ValueError(f"{directory}: got a file, expected a directory for results; name another one")
    known = _recorded(directory)
    paths = [directory / name for name in names if (directory / name).exists()]
    foreign = [path.name for path in paths if not path.is_file() or sha256_of(path) not in known.get(path.name, [])]
    if foreign:
        raise ValueError(
            f"{directory}: got {_listed(foreign)}, which is not recorded as a result of this program, or was changed "
            f"since ({RECORD}); expected no such file; move it away, or name another directory"
        )


def remove_own(directory: Path, names: Iterable[str]) -> list[str]:
    """Remove these files of a directory, and it if nothing else is in it; returns what else is. None there: nothing."""
    for name in names:
        (directory / name).unlink(missing_ok=True)
    for path in sorted(
        (path for path in directory.rglob("*") if path.is_dir() and not path.is_symlink()), reverse=True
    ):
        with contextlib.suppress(OSError):  # something else is in it
            path.rmdir()
    with contextlib.suppress(OSError):
        directory.rmdir()
    return content(directory)


def content(directory: Path) -> list[str]:
    """Relative names of all files and of all empty directories below, sorted; of a file, its name."""
    if directory.is_file():
        return [directory.name]
    paths = (path for path in directory.rglob("*") if path.is_symlink() or path.is_file() or not any(path.iterdir()))
    return sorted(path.relative_to(directory).as_posix() for path in paths)


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_yaml(path: Path) -> Any:
    """A table that stands beside the code that uses it."""
    import yaml  # type: ignore[import-untyped]

    return yaml.safe_load(path.read_text(encoding="utf-8"))


def write_text(path: Path, text: str) -> None:
    """A text file in UTF-8."""
    with whole_file(path, len(text)) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_parquet(path: Path, table: pa.Table, **options: Any) -> None:
    """A parquet file; options are those of pyarrow.parquet.write_table."""
    import pyarrow.parquet as pq

    with whole_file(path, table.nbytes) as temporary:
        pq.write_table(table, temporary, **options)


def write_png(path: Path, figure: Any) -> None:
    """A matplotlib figure as PNG."""
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def flush(path: Path) -> None:
    """Have a file, or the names in a directory, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _manifest_files(directory: Path) -> dict[str, dict[str, Any]]:
    """Of a manifest.json as whole_directory asks for; {} where there is none, or another one."""
    try:
        files = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))["files"]
        return {name: entry for name, entry in files.items() if isinstance(entry["sha256"], str)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _recorded(directory: Path) -> dict[str, list[str]]:
    """What result_files has written there."""
    path = directory / RECORD
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise ValueError(f"{path}: got no record of results, expected what was written there; move it away") from None


def listing_of(directory: Path) -> str:
    """The first names of what lies below a directory, or `a file`, for a reader."""
    return "a file" if directory.is_file() else _listed(content(directory)) or "nothing"


def _listed(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
