"""What lets unmodified verl 0.9.1 and vLLM 0.28 run on a machine without an accelerator.

The CPU platform is requested, never guessed: it is active where the environment variable ``VERL_PLATFORM`` is ``cpu``,
the variable by which verl itself chooses its platform. `cpu_environment` holds it and everything else the processes of
the CPU stack need. On any other machine one thing is left of this package: `patches.fix_position_ids`, which mends a
fault that verl has on GPUs as well.

    gpus.py, installed.py the GPUs of this machine, and what is installed for them
    environment.py        variables of every process, and of the CPU stack where it is asked for
    cpu.py, torch_cpu.py  verl's platform interface for the CPU          (registered: PlatformRegistry)
    engine.py             verl's FSDP engine on that platform            (registered: EngineRegistry)
    patches.py            what no registry or option reaches
    verl_plugin.py, vllm_plugin.py   entry points: verl and vLLM load them in every process they start

Importing this package imports neither torch, verl nor vllm.
"""

from verl_vaopd.platform.environment import (
    cpu_environment,
    forwarded_environment,
    is_cpu,
    prepare_environment,
    use_cpu,
    worker_environment,
)
from verl_vaopd.platform.gpus import Gpu, driver_version, probe_gpus
from verl_vaopd.platform.installed import has_cpu_vllm, has_flash_attn
from verl_vaopd.platform.patches import activate
from verl_vaopd.platform.registration import verify_registration

__all__ = [
    "Gpu",
    "activate",
    "cpu_environment",
    "driver_version",
    "forwarded_environment",
    "has_cpu_vllm",
    "has_flash_attn",
    "is_cpu",
    "prepare_environment",
    "probe_gpus",
    "use_cpu",
    "verify_registration",
    "worker_environment",
]
