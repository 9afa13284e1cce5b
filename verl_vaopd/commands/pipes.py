"""Commands that write rows to standard output, for other programs to read."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_if_closed() -> Iterator[None]:
    """What is printed meanwhile may be cut short by its reader (`| head` has seen enough): that is no error."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:  # nothing is left to flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
