"""Files of the Hugging Face hub, fetched ahead with a progress bar. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")


def is_id(name: str) -> bool:
    """Whether it looks like OWNER/NAME of the hub."""
    return _ID.fullmatch(name) is not None


def download_dataset(hub_id: str, patterns: Sequence[str]) -> tuple[Path, str]:
    """A data set's files in the hub's cache, and their revision; what is there is not fetched again.

    Raises:
        ValueError: the hub cannot be reached, or has no such data set.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        path = Path(snapshot_download(hub_id, repo_type="dataset", allow_patterns=list(patterns)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(
            f"{hub_id}: got no answer from the Hugging Face hub ({type(error).__name__}); expected a connection, or "
            "the files in its cache; download them elsewhere and name their directory: --source DIR"
        ) from None
    return path, path.name
