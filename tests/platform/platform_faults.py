"""Run by test_platform_patches.py in processes of its own: does what fails in an unmended release and tells how.

python -m tests.platform.platform_faults FOLDER PROBE...     prints {probe: outcome} as the last line
"""

import importlib.metadata
import json
import os
import pathlib
import sys


def vllm_version(folder: pathlib.Path) -> str:
    import verl  # noqa: F401  (loads the plugin)

    return importlib.metadata.version("vllm")


def torchvision(folder: pathlib.Path) -> str:
    import torchvision

    return torchvision.__version__


def process_group(folder: pathlib.Path) -> str:
    from verl.utils.distributed import initialize_global_process_group_ray

    import verl_vaopd.platform.cpu  # noqa: F401  (the platform alone, with or without the patch)

    os.environ["DIST_INIT_METHOD"] = f"file://{folder / 'process_group'}"
    initialize_global_process_group_ray(timeout_second=30)

    import torch.distributed

    total = torch.ones(2)
    torch.distributed.all_reduce(total)
    backend = torch.distributed.get_backend()
    torch.distributed.destroy_process_group()
    return f"{backend} {total.tolist()}"


def position_ids(folder: pathlib.Path) -> str:
    import torch
    from tensordict import TensorDict
    from transfer_queue.storage.managers.simple_storage_manager import AsyncSimpleStorageManager
    from verl.utils import tensordict_utils

    rows = [torch.arange(4 * 5).reshape(4, 5) + 100 * i for i in range(3)]
    batch = TensorDict({"position_ids": AsyncSimpleStorageManager._pack_field_values(rows)}, batch_size=[3])
    tensordict_utils.maybe_fix_3d_position_ids(batch)
    kept = [row.equal(expected) for row, expected in zip(batch["position_ids"].unbind(), rows, strict=True)]
    return f"sequences kept: {kept}"


def registration(folder: pathlib.Path) -> str:
    from verl.plugin.platform import get_platform

    from verl_vaopd.platform import verify_registration

    verify_registration()
    return get_platform().device_name


def language_config(folder: pathlib.Path) -> str:
    from transformers import Qwen3VLConfig
    from vllm.engine.arg_utils import EngineArgs

    Qwen3VLConfig(architectures=["Qwen3VLForConditionalGeneration"]).save_pretrained(folder / "model")
    images = {"image": 0, "video": 0}
    args = EngineArgs(str(folder / "model"), dtype="float32", skip_tokenizer_init=True, limit_mm_per_prompt=images)
    config = args.create_engine_config()
    language = config.with_hf_config(config.model_config.hf_config.get_text_config())
    return str(language.model_config.use_mla)


def live_weights(folder: pathlib.Path) -> str:
    import torch
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm
    from vllm.plugins import load_general_plugins

    load_general_plugins()
    layer = torch.nn.Linear(64, 32, bias=False)
    dispatch_cpu_unquantized_gemm(layer, remove_weight=True)
    inputs = torch.ones(2, 64)
    with torch.no_grad():
        layer.weight.copy_(torch.full((32, 64), 2.0))
        outputs = layer.cpu_linear(inputs, layer.weight, None)
    return f"sums {sorted(set(outputs.flatten().tolist()))}"


PROBES = (vllm_version, torchvision, process_group, position_ids, registration, language_config, live_weights)

if __name__ == "__main__":
    outcomes = {}
    for probe in PROBES:
        if probe.__name__ in sys.argv[2:]:
            try:
                outcomes[probe.__name__] = probe(pathlib.Path(sys.argv[1]))
            except Exception as error:  # noqa: BLE001  (the outcome)
                outcomes[probe.__name__] = f"{type(error).__name__}: {error}"
    print(json.dumps(outcomes))
