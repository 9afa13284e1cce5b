"""vLLM's offline engine where samples must not depend on what else is sampled: seeds and, on the CPU, a whole prefill.

For `vaopd collect` and `vaopd eval`. Importing this module imports neither torch nor vLLM.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vllm import LLM


def cpu_engine_options() -> dict[str, Any]:
    """Arguments of vllm.LLM that requests with a seed need on the CPU."""
    # It warns, for every image, that threads are bound to cores already.
    logging.getLogger("vllm.v1.worker.cpu_worker").setLevel(logging.ERROR)
    # A prompt cut in two makes vLLM take back a draw of a seeded generator, which a CPU's cannot.
    return {"enable_chunked_prefill": False}


def forget(engine: LLM) -> None:
    """Drop what earlier requests have left: it would change the batches, and with them the last digits of the logits.

    No request may be unfinished.
    """
    engine.reset_prefix_cache()
    engine.reset_mm_cache()


def request_seed(seed: int, key: str) -> int:
    """Seed of a prompt's first sample, in [0, 2^48); vLLM counts up from it. The same whatever is sampled besides."""
    return int.from_bytes(hashlib.sha256(f"{seed} {key}".encode()).digest()[:6], "big")
