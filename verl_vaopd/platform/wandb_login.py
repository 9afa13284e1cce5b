"""Whether Weights & Biases will let this user log: asked before anything expensive starts.

`python -m verl_vaopd.platform.wandb_login` asks wandb itself, which looks for a key where it always does, and its
server; in a process of its own, as wandb leaves threads and a service behind. It prints what is wrong, or nothing.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys

_OFFLINE = ("offline", "disabled", "dryrun")
_TIMEOUT_S = 60


def problem() -> str:
    """Why a run could not log to the server; empty if it could, or does not mean to (WANDB_MODE)."""
    if os.environ.get("WANDB_MODE") in _OFFLINE:
        return ""
    return _asked(tuple(sorted((key, value) for key, value in os.environ.items() if key.startswith("WANDB_"))))


@functools.cache
def _asked(variables: tuple[tuple[str, str], ...]) -> str:
    """The same, once for all methods of a comparison: it takes seconds. `variables` are those that may change it."""
    command = [sys.executable, "-m", "verl_vaopd.platform.wandb_login"]
    try:
        asked = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, env={**os.environ, "WANDB_SILENT": "true"}
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {_TIMEOUT_S} s"
    lines = (asked.stdout if asked.returncode == 0 else asked.stderr).strip().splitlines()
    return lines[-1] if lines else ""


def main() -> None:
    """Print why this user cannot log in, or nothing."""
    import wandb
    from wandb.errors import AuthenticationError
    from wandb.sdk.lib import wbauth

    settings = wandb.setup().settings
    if settings.mode in _OFFLINE:
        return
    try:
        found = wbauth.authenticate_session(host=settings.base_url, source="vaopd", prompt=False, verify=True)
    except AuthenticationError as error:
        print(" ".join(str(error).split()))
        return
    if found is None:
        print(f"no key for {settings.base_url}")


if __name__ == "__main__":
    main()
