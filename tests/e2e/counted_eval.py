"""`vaopd eval`, and in counts.json of its directory what vLLM did with images and prompts; run by test_eval.py."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from verl_vaopd.commands import evaluate
from verl_vaopd.evaluation.sources import local_vllm

num_processed = 0
cached_tokens: list[int] = []
sampled: set[int] = set()


def count() -> None:
    """From now on; before, the engine tries its image processor out."""
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

    preprocess, responses = Qwen2VLImageProcessor.preprocess, local_vllm._responses

    def counted_preprocess(self: Any, images: Any, *arguments: Any, **options: Any) -> Any:
        global num_processed
        num_processed += len(images)
        return preprocess(self, images, *arguments, **options)

    def counted_responses(request: Any, output: Any) -> Any:
        cached_tokens.append(output.num_cached_tokens)
        sampled.update(token_id for completion in output.outputs for token_id in completion.token_ids)
        return responses(request, output)

    Qwen2VLImageProcessor.preprocess = counted_preprocess
    local_vllm._responses = counted_responses


def main(argv: list[str]) -> int:
    """The exit code of `vaopd eval`."""
    sample = local_vllm.VllmSource.responses

    def counted(self: Any, requests: Any) -> Iterator[Any]:
        count()
        yield from sample(self, requests)

    local_vllm.VllmSource.responses = counted
    code = evaluate.main(argv)
    out = next(Path(word.removeprefix("out=")) for word in argv if word.startswith("out="))
    counts = {"num_processed": num_processed, "cached_tokens": cached_tokens, "sampled": sorted(sampled)}
    (out / "counts.json").write_text(json.dumps(counts))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
