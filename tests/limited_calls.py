"""What tests call in a LimitedProcess: functions that take too much, and others."""

import os
import re
import signal


def answer(value):
    return {"pid": os.getpid(), "value": value}


def spin(value):
    """In C, where no exception of Python's comes in between."""
    return re.match(r"(a|a)*b", "a" * 64) is not None


def hoard(value):
    return len(value * 2**30)


def nest(value):
    return nest(value)


def die(value):
    os.kill(os.getpid(), signal.SIGKILL)


def fail(value):
    raise ValueError(f"no use for {value}")


def stop(value):
    os.kill(os.getpid(), signal.SIGSTOP)
