"""The Hugging Face hub: which files a repository has, fetching them under one bar, and what goes wrong, in one line.

huggingface_hub does the work, and so its environment variables hold: HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_OFFLINE,
and those of proxies. Files that are whole are never fetched again; of one that was cut off, it begins anew. It compares
sizes; SHA-256 is compared here. Imports no torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from verl_vaopd.disk import require_room
from verl_vaopd.files import sha256_of
from verl_vaopd.progress import Bar

Kind = Literal["model", "dataset"]

ID = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")
"""Of a repository; the oldest ones have no owner."""
_SECRETS = re.compile(r"(?<=//)[^/@\s]*@|\?[^\s'\"]*")
"""Of an address: a password of a proxy, and the signature of a link."""


class UnreachableError(ValueError):
    """The hub gave no answer, or none that can be used: what was fetched before may still do."""


@dataclass(frozen=True)
class HubFile:
    """One file of a repository."""

    name: str
    """Relative, with `/`."""
    size: int
    """Bytes."""
    sha256: str | None
    """None of a file that git itself holds, which are small ones."""
    git_id: str
    """SHA-1 as git makes it; of a file with a sha256, that of its pointer."""

    def check(self, path: Path) -> str:
        """The SHA-256 of a fetched file. Raises ValueError if it is not what the hub says."""
        found = sha256_of(path)
        if self.sha256 is None:
            content = path.read_bytes()
            same = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == self.git_id
        else:
            same = found == self.sha256
        if not same:
            raise ValueError(f"got a file of SHA-256 {found}, expected {self.sha256 or f'git id {self.git_id}'}")
        return found


@dataclass(frozen=True)
class Repository:
    """One commit of a repository."""

    id: str
    kind: Kind
    commit: str
    files: tuple[HubFile, ...]


def repository(repo_id: str, kind: Kind) -> Repository:
    """What the hub has of a repository now.

    Raises:
        UnreachableError: no answer.
        ValueError: no such repository, or no access to it.
    """
    from huggingface_hub import HfApi, constants

    hub = HfApi()
    ask = hub.dataset_info if kind == "dataset" else hub.model_info
    with told(repo_id, kind):
        info = ask(repo_id, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    files = (
        HubFile(file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs else None, file.blob_id or "")
        for file in info.siblings or ()
    )
    return Repository(repo_id, kind, str(info.sha), tuple(files))


def is_id(name: str) -> bool:
    """Whether it looks like OWNER/NAME of the hub, and not like a mistyped directory beside this one."""
    return "/" in name and ID.fullmatch(name) is not None


def not_cached(found: Repository, files: Iterable[HubFile]) -> list[HubFile]:
    """Those that are not in the hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    def is_cached(file: HubFile) -> bool:
        path = try_to_load_from_cache(found.id, file.name, revision=found.commit, repo_type=found.kind)
        return isinstance(path, str)

    return [file for file in files if not is_cached(file)]


def download_dataset(hub_id: str, patterns: Sequence[str]) -> tuple[Path, str]:
    """A data set's files in the hub's cache, and their commit; what is there is not fetched again.

    Args:
        patterns: of names, as of fnmatch.
    Raises:
        ValueError: the hub cannot be reached and the files are not in the cache, or it has no such data set.
        DiskFull: no room.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    commit, problem = None, f"{hub_id}: got no {' and no '.join(patterns)}, expected these files on the hub"
    try:
        found = repository(hub_id, "dataset")
    except UnreachableError as error:
        problem = str(error)
    else:
        missing = not_cached(found, (f for f in found.files if any(fnmatchcase(f.name, each) for each in patterns)))
        require_room(Path(constants.HF_HUB_CACHE), sum(file.size for file in missing), f"fetching {hub_id}")
        download(found, missing)
        commit = found.commit
    try:
        path = snapshot_download(hub_id, repo_type="dataset", revision=commit, local_files_only=True)
    except LocalEntryNotFoundError:
        raise ValueError(
            f"{problem}, or in its cache; fetch them elsewhere and name their directory: --source DIR"
        ) from None
    return Path(path), Path(path).name


def download(found: Repository, files: Iterable[HubFile], directory: Path | None = None) -> None:
    """Fetch files that are not there yet, with a bar on stderr.

    Args:
        found: what they are of.
        files: which of its files.
        directory: where they go under their own names, as of `found.commit`; None: the hub's cache, where they count as
            the newest.
    Raises:
        UnreachableError: a connection that ended for good; the same call goes on with the files that are missing.
    """
    from huggingface_hub import hf_hub_download

    files = list(files)
    revision = None if directory is None else found.commit
    total, done = sum(file.size for file in files), 0
    with (
        _resumable(),
        told(found.id, found.kind),
        Bar(found.id, total, "B", scaled=True) as bar,
    ):
        for file in files:
            hf_hub_download(
                found.id,
                file.name,
                repo_type=found.kind,
                revision=revision,
                local_dir=directory,
                tqdm_class=_forwarding_to(bar),
            )
            done += file.size
            bar.update(done - bar.n)  # what was there already


@contextlib.contextmanager
def told(repo_id: str, kind: Kind) -> Iterator[None]:
    """Errors of huggingface_hub as ValueError, for a user; those of files and of the disk stay as they are.

    Raises:
        UnreachableError, ValueError: see repository.
    """
    from httpx import HTTPError
    from huggingface_hub import constants, errors, get_token

    hub = _SECRETS.sub("", constants.ENDPOINT)
    token = "a token is set" if get_token() else "no token is set"
    try:
        yield
    except errors.GatedRepoError:
        raise ValueError(
            f"{repo_id}: got no access ({token}), expected the token of an account that its owners let in; ask them on "
            f"its page at {hub}, then `hf auth login` or HF_TOKEN"
        ) from None
    except errors.RepositoryNotFoundError:
        raise ValueError(
            f"{repo_id}: got no such {kind} at {hub}, or a private one ({token}); expected one that this machine may "
            "read; correct the name, or `hf auth login` or HF_TOKEN"
        ) from None
    except (HTTPError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UnreachableError(f"{repo_id}: got {_reason(error)}, expected an answer of {hub}") from None


@contextlib.contextmanager
def _resumable() -> Iterator[None]:
    """Add the fix to an error in the middle."""
    try:
        yield
    except UnreachableError as error:
        raise UnreachableError(f"{error}; the same command goes on with the files that are not whole") from None


def _reason(error: Exception) -> str:
    """The first line of what the library says, without what may be secret."""
    from huggingface_hub import constants, errors

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE=1"
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        return _reason(error.__cause__)  # why the hub was of no use
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__} ({_SECRETS.sub('', first)})"


def _forwarding_to(bar: tqdm) -> type[tqdm]:
    """What huggingface_hub takes for the bar of one file, which is not shown: its progress goes to `bar`."""

    class OfOneFile(tqdm):
        def __init__(self, **options: Any) -> None:
            super().__init__(disable=True)

        def update(self, n: float | None = 1) -> None:
            bar.update(n)

        def update_transfer(self, n: float | None = 1) -> None:
            """Bytes of the network, of which some are more than a file's: not counted. Having it means one bar."""

        def set_transfer_postfix_str(self, *_: Any, **__: Any) -> None:
            """The rate of those."""

    return OfOneFile
