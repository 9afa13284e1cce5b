"""A training process that does not outlive the command that started it.

The command handles Ctrl-C and SIGTERM itself; this is for the case that it is killed outright (SIGKILL, out of memory,
a closed terminal). Linux then sends the child SIGTERM (`prctl(PR_SET_PDEATHSIG)`), which lets Ray shut down; a child
that is still there after a grace period kills its own process group. Imports nothing but the standard library.
"""

import ctypes
import os
import signal
import threading
import time

PARENT_VARIABLE = "VAOPD_PARENT_PID"
_PR_SET_PDEATHSIG = 1
# Loaded here, not in the forked child, where loading a library is not safe.
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int) -> None:
    """Ask the kernel for SIGTERM when the parent dies. Runs in the child, between fork and exec.

    The setting survives exec. It is tied to the thread that forked, so fork from the main thread.
    """
    if _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before the setting took effect
        os._exit(1)


def watch_parent(grace_s: float = 30.0, poll_interval: float = 1.0) -> None:
    """Start a thread that kills this process group `grace_s` seconds after the command that started it has died.

    Does nothing in a process that `vaopd train` did not start.
    """
    if PARENT_VARIABLE not in os.environ:
        return
    parent = int(os.environ[PARENT_VARIABLE])
    threading.Thread(target=_watch, args=(parent, grace_s, poll_interval), name="parent-watch", daemon=True).start()


def _watch(parent: int, grace_s: float, poll_interval: float) -> None:
    while os.getppid() == parent:
        time.sleep(poll_interval)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_s)
    os.killpg(os.getpgid(0), signal.SIGKILL)
