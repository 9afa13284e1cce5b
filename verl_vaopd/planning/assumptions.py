"""Every number of a plan that is neither counted nor measured, in one place. All are guesses: nothing ran on a GPU."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, fields


def _assumed(value: float, told: str, of: str = "time") -> float:
    """A field: its value, what is assumed with `{}` for the value, and what it enters (`time`, `memory`, `tokens`)."""
    return field(default=value, metadata={"told": told, "of": of})


@dataclass(frozen=True)
class Assumptions:
    """The values; `told` has them in words."""

    response_mean_frac: float = _assumed(0.15, "responses of {} of data.max_response_length in the mean", "tokens")
    response_longest_frac: float = _assumed(0.75, "the longest of a step {} of it", "tokens")
    text_tokens: float = _assumed(150, "prompts of {} tokens beside the image", "tokens")
    matmul: float = _assumed(0.35, "{} of the bf16 rate in matrix products")
    bandwidth: float = _assumed(0.6, "{} of the memory bandwidth while decoding")
    decode_step: float = _assumed(3e-3, "{} s a decoded token beside that")
    link: float = _assumed(0.5, "{} of the rate of NVLink and PCIe")
    network: float = _assumed(25e9, "{} bytes/s a GPU between machines")
    sync: float = _assumed(5e9, "{} bytes/s from FSDP to vLLM")
    sleep_wake: float = _assumed(2.0, "{} s for vLLM to sleep and wake")
    queue: float = _assumed(1e9, "{} bytes/s into and out of the queue")
    driver: float = _assumed(1.0, "{} s a step for balancing, weights, metrics")
    disk: float = _assumed(1e9, "{} bytes/s to disk")
    start: float = _assumed(300.0, "{} s to start")
    dumped_token: float = _assumed(40, "{} bytes of a token in a dump")
    processes: float = _assumed(2e9, "{} bytes a GPU for CUDA, NCCL and libraries of two processes", "memory")
    vllm_asleep: float = _assumed(1.5e9, "{} bytes that vLLM keeps while it sleeps", "memory")
    vllm_work: float = _assumed(2e9, "{} bytes of its share for graphs and work space", "memory")
    backward: float = _assumed(2, "a layer's activations {} times in backward", "memory")
    softmax_copies: float = _assumed(8, "{} float32 blocks in the divergence, half in log-probs", "memory")
    unused: float = _assumed(0.1, "{} of activations and logits lost to the allocator", "memory")

    def told(self, without: frozenset[str] = frozenset()) -> list[str]:
        """Each in words.

        Args:
            without: names of those that are not used, since the number was given or measured.
        """
        told = [(each.metadata["told"], getattr(self, each.name)) for each in fields(self) if each.name not in without]
        # Said of memory as a whole, not a number:
        return [*(text.format(_number(value)) for text, value in told), *OTHERS]


OTHERS = (
    "images at the smallest size that dataset.min_pixels allows, for time and traffic",
    "for memory, full micro-batches of longest rollouts whose prompts are all image",
)
"""Assumptions that are no single number."""

NAMES = frozenset(each.name for each in dataclasses.fields(Assumptions))


def _number(value: float) -> str:
    return f"{value:.0e}".replace("e+0", "e") if value >= 1e6 and value % 1e9 else _grouped(value)


def _grouped(value: float) -> str:
    return f"{value / 1e9:g}e9" if value >= 1e9 else f"{value:g}"
