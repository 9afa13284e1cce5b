"""The published files of a benchmark, from the Hugging Face hub into `data`, where `vaopd eval` finds them.

    DATA/NAME/                 NAME as the repository's; its files of the split, under their names there
    DATA/NAME/manifest.json    repository, commit, size and SHA-256 of every file
    DATA/.NAME.fetching/       what an interrupted call has left; the next one goes on with it

A benchmark's files are the parquet files of its split, at whatever depth (MMMU's of thirty subjects): the ones that
published.files_of reads.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from verl_vaopd import hub
from verl_vaopd.disk import require_room, size
from verl_vaopd.evaluation.benchmark import Benchmark
from verl_vaopd.evaluation.benchmarks import BENCHMARKS
from verl_vaopd.evaluation.origin import fetched_manifest
from verl_vaopd.evaluation.published import is_of_split
from verl_vaopd.evaluation.questions import fetched_directory, places
from verl_vaopd.files import MANIFEST, content, flush, remove_own, require_replaceable, write_text


@dataclass(frozen=True)
class Fetch:
    """What is to be fetched of one benchmark.

    Attributes:
        target: the directory that it becomes.
        found: the repository.
        files: its files of the split.
    """

    target: Path
    found: hub.Repository
    files: tuple[hub.HubFile, ...]

    @property
    def staging(self) -> Path:
        """Where files are until all of them are there."""
        return self.target.with_name(f".{self.target.name}.fetching")

    @property
    def num_missing_bytes(self) -> int:
        """Of the files that an earlier call has not fetched."""
        return sum(file.size for file in self.files if not (self.staging / file.name).is_file())


def fetch(names: Sequence[str], data: Path) -> Iterator[str]:
    """Fetch what is missing of some benchmarks; yields what there is of each, for a reader.

    Nothing is fetched before it is known that everything can be.

    Args:
        names: of BENCHMARKS.
        data: made if it is not there.
    Raises:
        ValueError: a benchmark that nobody publishes; other files in its place, or files that were changed; no hub, or
            one that has not these files or others than it says.
        DiskFull: there is no room.
    """
    planned = [(name, plan(BENCHMARKS[name], data)) for name in names]
    wanted = [each for _, each in planned if each is not None]
    require_room(data, sum(each.num_missing_bytes for each in wanted), "what is to be fetched")
    for name, each in planned:
        if each is None:
            yield f"{name}: there already, in {fetched_directory(BENCHMARKS[name], data)}"
            continue
        run(each)
        total = size(sum(file.size for file in each.files))
        files = f"{len(each.files)} file{'s' if len(each.files) > 1 else ''}"
        yield f"{name}: {files}, {total}, of {each.found.id} at {each.found.commit[:8]}, in {each.target}"
        others = [str(place) for place in places(BENCHMARKS[name], data)[1:] if place.exists()]
        if others:
            yield f"{name}: {', '.join(others)} is there too, and read with files.{name}=PATH alone"


def plan(benchmark: Benchmark, data: Path) -> Fetch | None:
    """What is to be fetched; None where all of it is there and unchanged. Raises as fetch."""
    if benchmark.hub_id is None:
        made = f"{benchmark.made_by} writes it" if benchmark.made_by else "its files are your own"
        raise ValueError(f"{benchmark.name}: got a benchmark that is not on the hub, expected another one; {made}")
    target = fetched_directory(benchmark, data)
    require_replaceable(target)
    if _is_whole(target):
        return None
    found = _repository(benchmark.hub_id, target)
    files = tuple(file for file in found.files if is_of_split(PurePosixPath(file.name).name, benchmark.splits))
    if not files:
        raise ValueError(
            f"{benchmark.name}: got no parquet file of the split {' or '.join(benchmark.splits)} in {found.id} at "
            f"{found.commit}, expected at least one: the repository has changed; take another of the files that "
            f"`vaopd eval` reads, and name it with files.{benchmark.name}=PATH"
        )
    return Fetch(target, found, files)


def run(each: Fetch) -> None:
    """Fetch and compare all files, then give the directory its name."""
    with _alone(each.staging):
        hub.download(each.found, each.files, each.staging)
        digests = {file.name: _digest(each, file) for file in each.files}
        shutil.rmtree(each.staging / ".cache", ignore_errors=True)  # huggingface_hub's notes
        for name in set(content(each.staging)) - digests.keys():  # of another commit
            (each.staging / name).unlink()
        entries = {file.name: {"bytes": file.size, "sha256": digests[file.name]} for file in each.files}
        manifest = {"repository": each.found.id, "commit": each.found.commit, "files": entries}
        for file in each.files:
            flush(each.staging / file.name)
        write_text(each.staging / MANIFEST, json.dumps(manifest, indent=1) + "\n")
        require_replaceable(each.target)
        remove_own(each.target, [*fetched_manifest(each.target).get("files", {}), MANIFEST])
        each.staging.rename(each.target)


def _digest(each: Fetch, file: hub.HubFile) -> str:
    path = each.staging / file.name
    try:
        return file.check(path)
    except ValueError as error:
        path.unlink()
        raise ValueError(
            f"{each.found.id}: {file.name}: {error} as the hub says; it is removed: the same command fetches it again"
        ) from None


def _repository(hub_id: str, target: Path) -> hub.Repository:
    try:
        return hub.repository(hub_id, "dataset")
    except hub.UnreachableError as error:
        raise ValueError(
            f"{error}; run the same command where the hub is in reach and copy {target} here, or set HF_ENDPOINT to a "
            "mirror or HTTPS_PROXY to a proxy"
        ) from None


def _is_whole(target: Path) -> bool:
    """Whether all that an earlier call has written is there. (require_replaceable has compared it.)"""
    manifest = fetched_manifest(target)
    return bool(manifest) and all((target / name).is_file() for name in manifest["files"])


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep other processes out of a directory, which may have another name at the end."""
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{directory}: got a directory that another process fetches into, expected none; wait for it"
            ) from None
        yield
    finally:
        os.close(descriptor)
