"""Every number of a plan that is neither counted nor measured, in one place. All are guesses: nothing ran on a GPU."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, fields


def _assumed(value: float, told: str) -> float:
    """A field: its value, and what is assumed, with the value where the braces are."""
    return field(default=value, metadata={"told": told})


@dataclass(frozen=True)
class Assumptions:
    """Bytes, seconds, bytes per second and shares; `told` has them in words."""

    response_mean: float = _assumed(0.15, "mean response {:g} of data.max_response_length")
    response_longest: float = _assumed(0.75, "longest of a step {:g} of it")
    text_tokens: float = _assumed(150, "{:g} tokens of text in a prompt")
    matmul: float = _assumed(0.35, "matrix products at {:g} of the bf16 rate")
    bandwidth: float = _assumed(0.6, "decoding at {:g} of the memory's rate")
    decode_step: float = _assumed(3e-3, "{:g} s a token beside it")
    link: float = _assumed(0.5, "NVLink and PCIe at {:g} of theirs")
    network: float = _assumed(25e9, "{:.3g} B/s a GPU between machines")
    sync: float = _assumed(5e9, "{:.3g} B/s from FSDP to vLLM")
    sleep_wake: float = _assumed(2.0, "{:g} s for its sleep and waking")
    queue: float = _assumed(1e9, "{:.3g} B/s through the queue")
    driver: float = _assumed(1.0, "{:g} s a step in the driver")
    disk: float = _assumed(1e9, "{:.3g} B/s to disk")
    start: float = _assumed(300.0, "{:g} s to start")
    dumped_token: float = _assumed(40, "{:g} B a dumped token")
    processes: float = _assumed(2e9, "{:.3g} B of CUDA, NCCL and libraries a GPU")
    vllm_asleep: float = _assumed(1.5e9, "{:.3g} B of a sleeping vLLM")
    vllm_work: float = _assumed(2e9, "{:.3g} B of its share for graphs and work space")
    backward: float = _assumed(2, "a layer takes {:g} times its activations in backward")
    softmax_copies: float = _assumed(8, "the divergence {:g} float32 blocks, log-probs half")
    unused: float = _assumed(0.1, "{:g} of activations and logits are lost to the allocator")

    def told(self, without: Collection[str] = ()) -> list[str]:
        """Each in words, but for those of these names: they are given or measured."""
        numbers = [
            each.metadata["told"].format(getattr(self, each.name)).replace("e+", "e").replace("e0", "e")
            for each in fields(self)
            if each.name not in without
        ]
        return [*numbers, *_OTHERS]


_OTHERS = (
    "for time, images of dataset.min_pixels",
    "for memory, full micro-batches whose prompts are all image",
)
"""Assumptions that are no number."""
