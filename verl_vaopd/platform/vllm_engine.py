"""vLLM's offline engine, for `vaopd collect` and `vaopd eval`.

It samples what verl's rollouts can sample and nothing else. Samples must not depend on what else is sampled: hence the
seeds and, on the CPU, a whole prefill. Importing this module imports neither torch nor vLLM.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vllm import LLM


def start_engine(**options: Any) -> LLM:
    """vLLM with these arguments, told which ids it must never sample: see TokenMask."""
    from vllm import LLM

    engine = LLM(worker_extension_cls=f"{TokenMask.__module__}.{TokenMask.__qualname__}", **options)
    placeholders = placeholder_ids(engine.llm_engine.vllm_config.model_config.hf_config)
    engine.collective_rpc("refuse_tokens", args=(len(engine.get_tokenizer()), placeholders))
    return engine


def placeholder_ids(config: Any) -> list[int]:
    """Ids that stand for an image or a video, by a transformers configuration; none of a model of text."""
    found = (getattr(config, f"{kind}_token_id", None) for kind in ("image", "video"))
    return [token_id for token_id in found if token_id is not None]


class TokenMask:
    """What vLLM's workers are extended by: ids that have no token, and placeholders without an image, get no chance.

    verl does the same to its rollouts, before their first weights (verl 0.9.1:
    workers/rollout/vllm_rollout/vllm_async_server.py:500). It is done to the logits, where it costs nothing: vLLM's V1
    model runner builds a `logit_bias`, here of 269 ids, anew for all requests whenever one of them ends, and vLLM
    refuses it, and logits processors, together with speculative decoding.
    """

    model_runner: Any

    def refuse_tokens(self, num_tokens: int, placeholders: list[int]) -> None:
        """Args: `num_tokens` of the tokenizer, from which on ids are refused; `placeholders`: ids below it."""
        from verl.workers.rollout.vllm_rollout.utils import monkey_patch_compute_logits

        monkey_patch_compute_logits(self.model_runner.model, num_tokens, placeholders)


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
