"""Entry points of vLLM, which runs them in every process it starts."""

from verl_vaopd.platform import patches
from verl_vaopd.platform.environment import is_cpu


def platform_plugin() -> None:
    """``vllm.platform_plugins``: runs before model code is imported. Claims no platform: vLLM has its own for CPUs."""
    patches.activate()


def general_plugin() -> None:
    """``vllm.general_plugins``: runs in engine cores and workers before the model is built."""
    if is_cpu():
        patches.keep_vllm_weights()
