"""`vaopd eval`, and in recorded.pt of its directory what vLLM read: every question's prompt, and images."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from verl_vaopd.commands import evaluate
from verl_vaopd.evaluation.sources import local_vllm

FILE = "recorded.pt"
prompts: dict[str, list[int]] = {}
seen: set[tuple[tuple[int, ...], str]] = set()
sampled: set[int] = set()


def digests(processed: Mapping[str, Any]) -> set[tuple[tuple[int, ...], str]]:
    """Grid and digest of the pixel values of every image that transformers has processed."""
    grids = [tuple(grid) for grid in torch.as_tensor(processed["image_grid_thw"]).tolist()]
    parts = torch.as_tensor(processed["pixel_values"]).split([height * width for _, height, width in grids])
    return {
        (grid, hashlib.sha256(part.contiguous().numpy()).hexdigest()) for grid, part in zip(grids, parts, strict=True)
    }


def record() -> None:
    """From now on; before, the engine tries its image processor out."""
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

    preprocess, responses = Qwen2VLImageProcessor.preprocess, local_vllm._responses

    def recorded_preprocess(self: Any, images: Any, *arguments: Any, **options: Any) -> Any:
        processed = preprocess(self, images, *arguments, **options)
        seen.update(digests(processed))
        return processed

    def recorded_responses(request: Any, output: Any) -> Any:
        prompts[request.question] = list(output.prompt_token_ids)
        sampled.update(token_id for completion in output.outputs for token_id in completion.token_ids)
        return responses(request, output)

    Qwen2VLImageProcessor.preprocess = recorded_preprocess
    local_vllm._responses = recorded_responses


def main(argv: list[str]) -> int:
    """The exit code of `vaopd eval`."""
    sample = local_vllm.VllmSource.responses

    def recorded(self: Any, requests: Any) -> Any:
        record()
        yield from sample(self, requests)

    local_vllm.VllmSource.responses = recorded
    code = evaluate.main(argv)
    out = next(Path(word.removeprefix("out=")) for word in argv if word.startswith("out="))
    torch.save({"prompts": prompts, "images": seen, "sampled": sorted(sampled)}, out / FILE)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
