"""`vaopd prepare`: published problems become train.parquet, validation.parquet, test.parquet and a manifest.

Every problem is read by the code that training reads rows with, every image decoded and every answer scored against
itself. What cannot be used is dropped, counted and named in the manifest.

Parts (parts.py) are written into a hidden directory beside the result: an interrupted preparation goes on where it was,
and memory holds a few parts. At the end the parts become files, and the directory appears whole. Imports neither torch
nor verl.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from verl_vaopd import hub
from verl_vaopd.data.prepared import PREPARED
from verl_vaopd.data.prepared.assembly import NUM_VALIDATION, assemble, require_few_dropped
from verl_vaopd.data.prepared.manifest import changed_files, read
from verl_vaopd.data.prepared.parts import write_parts
from verl_vaopd.data.prepared.published import Published
from verl_vaopd.disk import require_room
from verl_vaopd.files import MANIFEST, remove_own, require_replaceable, sha256_of, whole_directory, write_text
from verl_vaopd.progress import Bar

FORMAT_VERSION = 1
"""Counted up with every change of what is written."""
_REQUEST, _LOCK = "request.json", "lock"
_MOST_LISTED = 20
_HUB = "hub"


@dataclass(frozen=True)
class Request:
    """What is to be prepared.

    Attributes:
        name: of PREPARED.
        seed: draws the held-out problems.
        sources: {hub id of a published data set: the directory, or another id, to read it from}.
        partial: prepare a source that lacks problems, or of which more than MAX_DROPPED_FRAC cannot be used.
    """

    name: str
    seed: int
    sources: Mapping[str, str] = field(default_factory=dict)
    partial: bool = False

    @property
    def splits(self) -> Mapping[str, type[Published]]:
        """{split: its data set}"""
        return PREPARED[self.name]

    @property
    def settings(self) -> dict[str, Any]:
        """What decides about the result, besides the content of the sources."""
        return {
            "format": FORMAT_VERSION,
            "seed": self.seed,
            "num_validation": NUM_VALIDATION,
            "partial": self.partial,
        }


@dataclass(frozen=True)
class Source:
    """Where a published data set was found, and what stands for its content.

    Attributes:
        kind: `hub` or `directory`.
        place: the directory, or ID@REVISION.
        digest: one sha256 over all files that were read.
        files: {relative name: sha256}; the first _MOST_LISTED of num_files.
    """

    hub_id: str
    kind: str
    place: str
    digest: str
    num_files: int
    files: dict[str, str]
    licence: str


def prepare(request: Request, out: Path) -> tuple[dict[str, Any], bool]:
    """Prepare a public data set in a directory; what no directory is named for is downloaded.

    Returns: the manifest, and whether anything was done: what is there already, from the same source, stays.
    Raises:
        ValueError: the source is missing, damaged or partial, or `out` holds something else.
        OSError: no room.
    """
    out = out.expanduser().absolute()
    there = read(out)
    if there is None:
        require_replaceable(out)
    elif _kinds(there) != [_kind(request, cls) for cls in _sets(request)] or not _same(there, request):
        raise _prepared_otherwise(out)
    elif set(_kinds(there)) == {_HUB}:  # which need not be reached
        return _intact(out, there), False
    roots = {cls: _root(cls, request) for cls in _sets(request)}
    published = {cls: cls(root) for cls, (root, _) in roots.items()}
    for split, cls in request.splits.items():
        _require_whole(request, cls, split, published[cls].num_rows(split))
    sources = [_source(cls, *roots[cls], published[cls], request) for cls in published]
    if there is not None:
        if [source["digest"] for source in there["sources"]] != [source.digest for source in sources]:
            raise _prepared_otherwise(out)
        return _intact(out, there), False
    files = [file for split, cls in request.splits.items() for file in published[cls].files(split)]
    require_room(out, 2 * sum(file.stat().st_size for file in files), "preparing, with its parts,")
    asked = {"dataset": request.name, "request": request.settings, "sources": [asdict(source) for source in sources]}
    with _workplace(out, asked) as workplace:
        parts = {split: write_parts(published[cls], split, workplace) for split, cls in request.splits.items()}
        with whole_directory(out) as directory:
            manifest = asked | assemble(request.splits, parts, request.seed, directory)
            require_few_dropped(manifest["splits"], request.partial)
            write_text(directory / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
        remove_own(workplace, [*(part.path.name for of_split in parts.values() for part in of_split), _REQUEST, _LOCK])
    return manifest, True


def _sets(request: Request) -> list[type[Published]]:
    return list(dict.fromkeys(request.splits.values()))


def _kind(request: Request, cls: type[Published]) -> str:
    """Raises ValueError for a source that is neither a directory nor an id."""
    source = request.sources.get(cls.hub_id, cls.hub_id)
    if Path(source).expanduser().is_dir():
        return "directory"
    if hub.is_id(source):
        return _HUB
    raise ValueError(
        f"source of {cls.hub_id}: got {source}, which is no directory; expected a directory, or an id of the Hugging "
        f"Face hub such as {cls.hub_id}; correct the path"
    )


def _kinds(manifest: Mapping[str, Any]) -> list[str]:
    return [source["kind"] for source in manifest["sources"]]


def _same(manifest: Mapping[str, Any], request: Request) -> bool:
    return (manifest["dataset"], manifest["request"]) == (request.name, request.settings)


def _prepared_otherwise(out: Path) -> ValueError:
    return ValueError(
        f"{out}: got a data set that was prepared otherwise (its name, seed or source); expected a new directory; "
        "remove it, or name another one with --out"
    )


def _intact(out: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    changed = changed_files(out, manifest)
    if changed:
        raise ValueError(
            f"{out}: got {', '.join(changed)}, missing or not as it was prepared; expected the files of {MANIFEST}; "
            "remove the directory and prepare it again, or name another one with --out"
        )
    return manifest


def _root(cls: type[Published], request: Request) -> tuple[Path, str]:
    """Where a data set's files are, and what to call the place."""
    source = request.sources.get(cls.hub_id, cls.hub_id)
    if _kind(request, cls) != _HUB:
        return Path(source).expanduser().absolute(), source
    root, revision = hub.download_dataset(source, cls.patterns)
    return root, f"{source}@{revision}"


def _require_whole(request: Request, cls: type[Published], split: str, num_rows: int) -> None:
    if num_rows != cls.published[split] and (not request.partial or not num_rows):
        partial = "" if not num_rows else ", or prepare what is there: --partial"
        raise ValueError(
            f"{request.name}: got {num_rows} problems of {cls.hub_id}, {split}; expected {cls.published[split]}; "
            f"complete the source{partial}"
        )


def _source(cls: type[Published], root: Path, place: str, published: Published, request: Request) -> Source:
    read_for = [split for split, of in request.splits.items() if of is cls]
    files = dict.fromkeys(file for split in read_for for file in published.files(split))
    hashes = {}
    with Bar(f"reading {cls.hub_id}", sum(file.stat().st_size for file in files), "B", scaled=True) as bar:
        for file in files:
            hashes[file.relative_to(root).as_posix()] = sha256_of(file)
            bar.update(file.stat().st_size)
    return Source(
        hub_id=cls.hub_id,
        kind=_kind(request, cls),
        place=place,
        digest=hashlib.sha256("\n".join(f"{name} {sha256}" for name, sha256 in hashes.items()).encode()).hexdigest(),
        num_files=len(hashes),
        files=dict(list(hashes.items())[:_MOST_LISTED]),
        licence=cls.licence,
    )


@contextlib.contextmanager
def _workplace(out: Path, asked: Mapping[str, Any]) -> Iterator[Path]:
    """The directory of the parts, for this process alone. Parts that were made otherwise are removed.

    Raises:
        ValueError: another process works there.
    """
    workplace = out.with_name(f".{out.name}.preparing")
    workplace.mkdir(parents=True, exist_ok=True)
    with (workplace / _LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{out}: got a directory that another process prepares; expected a free one; wait for it, or name "
                "another one with --out"
            ) from None
        request = workplace / _REQUEST
        text = json.dumps(asked, indent=1)
        if not request.is_file() or request.read_text(encoding="utf-8") != text:
            for part in workplace.glob("*-?????.parquet"):
                part.unlink()
            write_text(request, text)
        yield workplace
