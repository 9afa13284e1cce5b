"""Temporary files of one training process and of all that it starts: in directories of their own, removed at its end.

Ray (its session with sockets and logs), vLLM and PyTorch leave files below TMPDIR, which is mostly /tmp. A directory
has a lock, which the processes that use it hold: one without a holder is left of processes that were killed, and the
next one removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PREFIX = "vaopd"
VARIABLES = ("TMPDIR", "RAY_TMPDIR")
_LOCK = ".vaopd-temporary.lock"
"""Its name says whose the directory is, too."""
_RAY_SOCKET = "/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store"
_LONGEST_SOCKET = 107
"""Bytes of the path of a Unix socket (`man 7 unix`)."""
LONGEST = _LONGEST_SOCKET - len(f"/{PREFIX}99/ray{_RAY_SOCKET}")
"""Bytes that the directory for temporary files may have, so that Ray's sockets fit below it."""
LONGEST_OF_RAY = _LONGEST_SOCKET - len(_RAY_SOCKET)
"""Bytes that a directory may have which Ray is given for its sessions (`_temp_dir`)."""


@dataclass(frozen=True)
class Temporary:
    """What a process needs to use them.

    Attributes:
        environment: variables to start it with.
        locks: open file descriptors to pass on.
    """

    environment: dict[str, str]
    locks: tuple[int, ...]


def places() -> dict[str, str]:
    """{variable: absolute directory} for temporary files, as it is now: Ray's own only where it is set."""
    given = {name: os.path.abspath(os.environ[name]) for name in VARIABLES if os.environ.get(name)}
    return {"TMPDIR": "/tmp", **given}


@contextlib.contextmanager
def temporary_directories() -> Iterator[Temporary]:
    """Directories of a process's own below `places`."""
    with contextlib.ExitStack() as stack:
        made = {name: stack.enter_context(_directory(Path(place))) for name, place in places().items()}
        # What the compiler has made is worth keeping: the next run starts faster.
        kept = os.path.join(tempfile.gettempdir(), f"torchinductor_{getpass.getuser()}")
        environment = {name: str(path) for name, (path, _) in made.items()}
        environment["TORCHINDUCTOR_CACHE_DIR"] = os.environ.get("TORCHINDUCTOR_CACHE_DIR", kept)
        yield Temporary(environment, tuple(lock for _, lock in made.values()))


@contextlib.contextmanager
def _directory(place: Path) -> Iterator[tuple[Path, int]]:
    """A new directory with its lock. Its name is shorter than tempfile's: every byte counts for a socket."""
    for left in place.glob(f"{PREFIX}[0-9]*"):
        _remove_if_left(left)
    made = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-", dir=place))
    lock = os.open(made / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        for number in itertools.count():
            path = place / f"{PREFIX}{number}"
            with contextlib.suppress(OSError):  # taken meanwhile
                # With its lock held, or another process would take it for one that was left.
                if not path.exists():
                    made = made.rename(path)
                    break
        yield made, lock
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(lock)


def _remove_if_left(path: Path) -> None:
    """Remove such a directory if no process holds its lock."""
    try:
        lock = os.open(path / _LOCK, os.O_RDWR)
    except OSError:  # none, or another user's
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Not of a directory that was removed and made anew meanwhile.
        if os.path.samestat(os.fstat(lock), os.stat(path / _LOCK)):
            shutil.rmtree(path, ignore_errors=True)
    except OSError:  # held, or gone
        pass
    finally:
        os.close(lock)


@contextlib.contextmanager
def own_temporary_files() -> Iterator[None]:
    """The same for this process, where it is vLLM's: what is imported and started meanwhile finds them."""
    before = {name: os.environ.get(name) for name in VARIABLES}
    with temporary_directories() as own:
        os.environ.update(own.environment)
        tempfile.tempdir = None  # which tempfile has remembered
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            tempfile.tempdir = None
