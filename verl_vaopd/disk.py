"""The disk: how much is free, what is said where it is full, and what the system's other errors mean for a user."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

_ADVICE = {
    errno.EROFS: "; expected a place that can be written: name another one",
    errno.EACCES: "; expected a place that this user can read and write: name another one, or change its permissions",
    errno.EPERM: "; expected a place that this user can read and write: name another one, or change its permissions",
    errno.ENOTDIR: "; a file is where a directory is needed: move it away, or name another place",
    errno.EEXIST: "; something is there already: move it away, or name another place",
    errno.EISDIR: "; a directory is where a file is needed: name the file",
    errno.ENOENT: "; expected a file or directory that is there: check the path",
    errno.ENAMETOOLONG: "; expected a shorter name",
}
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def told_if_full(path: Path, needed: int | None = None) -> Iterator[None]:
    """Raise OSError that tells the place, what was needed and what is free, where writing `path` fills the disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL or isinstance(error, DiskFull):
            raise
        raise DiskFull(path, needed) from error


class DiskFull(OSError):
    """There is no room to write a file.

    Args:
        path: of the file or directory.
        needed: bytes, if they are known.
        what: is written, for a reader.
    """

    def __init__(self, path: Path, needed: int | None = None, what: str = "this file"):
        amount = "more than that" if needed is None else f"about {size(needed)}"
        super().__init__(
            errno.ENOSPC,
            f"the disk is full: {path} is on a file system with {size(free_bytes(path))} free; {what} needs {amount}; "
            "free some space there (or raise your quota), or write to another place. What was complete is kept",
        )

    def __reduce__(self) -> tuple:
        return OSError, self.args


def told(error: OSError) -> str:
    """What the system says of a file or directory, and what to do about it: one line for a user."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}{_ADVICE.get(error.errno or 0, '')}"


def require_room(path: Path, needed: int, what: str) -> None:
    """Raise DiskFull unless so many bytes are free where `path` is or will be."""
    if free_bytes(path) < needed:
        raise DiskFull(path, needed, what)


def free_bytes(path: Path) -> int:
    """Bytes that this user may still write where `path` is or will be."""
    return shutil.disk_usage(existing(path)).free


def existing(path: Path) -> Path:
    """The path, or the nearest one above it that exists."""
    path = path.absolute()
    while not os.path.exists(path):
        path = path.parent
    return path


def size(num_bytes: float) -> str:
    """For a reader: `1.5 GiB`."""
    for unit in ("bytes", "KiB", "MiB"):
        if num_bytes < 1024:
            return f"{num_bytes:.0f} {unit}" if unit == "bytes" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.1f} GiB"


def append(descriptor: int, data: bytes, path: Path) -> None:
    """Add data to a file that nobody else writes (opened with O_APPEND), all of it or, if the disk is full, nothing."""
    before = os.fstat(descriptor).st_size
    try:
        append_shared(descriptor, data, path)
    except OSError:
        os.ftruncate(descriptor, before)
        raise


def append_shared(descriptor: int, data: bytes, path: Path) -> None:
    """Add data to a file that others write too: a full disk may leave half of it."""
    with told_if_full(path, len(data)):
        while data:  # a write to a file is cut short by a full disk or a signal only
            data = data[os.write(descriptor, data) :]
