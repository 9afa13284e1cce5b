"""The CPU as a verl platform, registered as "cpu" (``VERL_PLATFORM=cpu``)."""

import contextlib
from collections.abc import Iterator
from types import ModuleType

import torch
from verl.plugin.platform import PlatformBase, PlatformRegistry

from verl_vaopd.platform import torch_cpu


@PlatformRegistry.register(platform="cpu")
class CpuPlatform(PlatformBase):
    """Runs every role of verl on the CPU, with gloo between ranks.

    verl gives each rank one accelerator of the Ray cluster. On this platform these are the logical GPUs that
    ``ray_kwargs.ray_init.num_gpus`` promises to Ray; no device stands behind them.
    """

    @property
    def device_name(self) -> str:
        """The device type of torch."""
        return "cpu"

    @property
    def vendor_name(self) -> str:
        """The vendor by which verl tells engines of one device type apart: none."""
        return "cpu"

    @property
    def device_module(self) -> ModuleType:
        """What verl calls where it would call ``torch.cuda``."""
        return torch_cpu

    def is_available(self) -> bool:
        """True: there is always a CPU."""
        return True

    def current_device(self) -> torch.device:
        """The CPU. Not an index, as verl has it: it passes this to ``Tensor.to``, where an index means CUDA."""
        return torch.device("cpu")

    def device_count(self) -> int:
        """One: all cores are one device."""
        return 1

    def set_device(self, device_index: int) -> None:
        """Nothing to choose."""

    def synchronize(self, device_index: int | None = None) -> None:
        """Nothing to wait for: operations are synchronous."""

    def manual_seed(self, seed: int) -> None:
        """Seed torch's generator."""
        torch.manual_seed(seed)

    manual_seed_all = manual_seed

    def set_allocator_settings(self, settings: str) -> None:
        """No caching allocator to set."""

    def empty_cache(self) -> None:
        """No caching allocator to empty."""

    def get_device_capability(self, device_index: int = 0) -> tuple[None, None]:
        """No CUDA compute capability."""
        return None, None

    def communication_backend_name(self) -> str:
        """The backend of torch.distributed."""
        return "gloo"

    def visible_devices_envvar(self) -> str:
        """The variable Ray numbers a worker's logical GPUs in."""
        return "CUDA_VISIBLE_DEVICES"

    @contextlib.contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        """No profiler marks."""
        yield

    def profiler_start(self) -> None:
        """No device profiler."""

    profiler_stop = profiler_start

    def ray_resource_name(self) -> str:
        """The Ray resource verl asks for: logical GPUs."""
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        """The variable that keeps Ray from setting `visible_devices_envvar`."""
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self) -> bool:
        """False: weights go to vLLM through shared host memory, not through CUDA handles."""
        return False

    def cudart(self) -> None:
        """No CUDA runtime."""
