"""Temporary files of one training process and of all that it starts: in directories of their own, removed at its end.

Ray (its session with sockets and logs), vLLM and PyTorch leave files below TMPDIR, which is mostly /tmp.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import tempfile
from collections.abc import Iterator

PREFIX = "vaopd-"
VARIABLES = ("TMPDIR", "RAY_TMPDIR")
_RAY_SOCKET = "/ray/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store"
_LONGEST_SOCKET = 107
"""Bytes of the path of a Unix socket (`man 7 unix`)."""
LONGEST = _LONGEST_SOCKET - len(f"/{PREFIX}xxxxxxxx{_RAY_SOCKET}")
"""Bytes that the directory for temporary files may have, so that Ray's sockets fit below it."""


def places() -> dict[str, str]:
    """{variable: absolute directory} for temporary files, as it is now: Ray's own only where it is set."""
    given = {name: os.path.abspath(os.environ[name]) for name in VARIABLES if os.environ.get(name)}
    return {"TMPDIR": "/tmp", **given}


@contextlib.contextmanager
def temporary_directories() -> Iterator[dict[str, str]]:
    """The environment variables that a process gets so that its temporary files are in directories of its own."""
    made = {name: tempfile.mkdtemp(prefix=PREFIX, dir=place) for name, place in places().items()}
    # What the compiler has made is worth keeping: the next run starts faster.
    kept = os.path.join(tempfile.gettempdir(), f"torchinductor_{getpass.getuser()}")
    try:
        yield {"TORCHINDUCTOR_CACHE_DIR": os.environ.get("TORCHINDUCTOR_CACHE_DIR", kept), **made}
    finally:
        for directory in made.values():
            shutil.rmtree(directory, ignore_errors=True)
