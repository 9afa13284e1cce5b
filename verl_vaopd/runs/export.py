"""One checkpoint of a run as a Hugging Face directory that transformers and vLLM load.

verl's own merger finds the shards and writes the model, tokenizer and processor; the shards themselves are put together
here, because verl's (fsdp_model_merger.py) casts every tensor to bfloat16 and checks no shape. torch, verl and
transformers are imported inside the functions: the command line imports this module.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verl_vaopd.files import listing_of, whole_directory, write_text
from verl_vaopd.runs import events
from verl_vaopd.runs.checkpoints import BEST, checkpoint_path, complete_steps, is_complete, latest_complete
from verl_vaopd.runs.run_dir import CHECKPOINTS, VERSIONS

if TYPE_CHECKING:
    import torch

PROVENANCE = "vaopd_export.json"
DTYPES = ("bfloat16", "float32")


def export(run_dir: Path, checkpoint: str = "best", out: Path | None = None, dtype: str = "bfloat16") -> Path:
    """Write one checkpoint's weights, configuration, tokenizer and processor into one directory, whole or not at all.

    Args:
        run_dir: the run.
        checkpoint: `best`, `last` or a step.
        out: must not exist; default: `RUN/export/global_step_N`.
        dtype: of the written weights.
    Returns: the directory, absolute.

    Raises:
        ValueError: unknown dtype, no such complete checkpoint, or `out` exists.
        RuntimeError: what was written does not load as the whole model; nothing is left behind then.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype: got {dtype!r}, expected one of {', '.join(DTYPES)}")
    step_dir = resolve_checkpoint(Path(run_dir), checkpoint)
    out = (Path(run_dir) / "export" / step_dir.name if out is None else Path(out)).absolute()
    if out.exists():
        there = listing_of(out)
        raise ValueError(
            f"--out: got {out}, which exists ({there}); expected a new directory; move it away or name another one"
        )
    with whole_directory(out) as unfinished:
        _merge(step_dir / "actor", unfinished, dtype)
        _set_dtype(unfinished / "config.json", dtype)
        _check_loads(unfinished)
        write_text(unfinished / PROVENANCE, json.dumps(_provenance(Path(run_dir), step_dir, dtype), indent=2) + "\n")
    return out


def resolve_checkpoint(run_dir: Path, checkpoint: str) -> Path:
    """The directory of a complete checkpoint: `best`, `last` or a step. Raises ValueError where there is none."""
    checkpoints_dir = run_dir / CHECKPOINTS
    steps = complete_steps(checkpoints_dir)
    if not steps:
        raise ValueError(
            f"{run_dir}: got no complete checkpoint in {CHECKPOINTS}/, expected at least one; "
            "name a run directory that has saved one, such as the one that `vaopd train` printed"
        )
    there = f"complete are {', '.join(map(str, steps))}"
    if checkpoint == "last":
        latest = latest_complete(checkpoints_dir)
        assert latest is not None
        return latest
    if checkpoint == "best":
        best = (checkpoints_dir / BEST).resolve()
        if not is_complete(best):
            raise ValueError(f"--checkpoint: got best, but none was validated; expected last or a step ({there})")
        return best
    if not checkpoint.isdecimal() or int(checkpoint) not in steps:
        raise ValueError(f"--checkpoint: got {checkpoint}, expected best, last or a complete step ({there})")
    return checkpoint_path(checkpoints_dir, int(checkpoint))


def _merge(actor_dir: Path, out: Path, dtype: str) -> None:
    from verl_vaopd.platform import activate

    activate()  # before transformers' vision classes
    import torch
    from verl.model_merger.base_model_merger import ModelMergerConfig
    from verl.model_merger.fsdp_model_merger import FSDPModelMerger

    class Merger(FSDPModelMerger):
        def _load_and_merge_state_dicts(self, world_size: int, *_: Any) -> dict[str, torch.Tensor]:
            return merge_shards(actor_dir, world_size, getattr(torch, dtype))

    config = ModelMergerConfig(
        operation="merge",
        backend="fsdp",
        local_dir=str(actor_dir),
        hf_model_config_path=str(actor_dir / "huggingface"),
        target_dir=str(out),
    )
    Merger(config).merge_and_save()


def merge_shards(actor_dir: Path, world_size: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Whole tensors from the shards `model_world_size_W_rank_R.pt` of FSDP2 (or FSDP1 with DTensors), on the CPU.

    Raises ValueError where shards do not make up the tensor they say they are part of, or where the ranks hold
    different keys.
    """
    import torch

    # mmap: only what is being merged is read into memory.
    shards = [
        torch.load(
            actor_dir / f"model_world_size_{world_size}_rank_{rank}.pt",
            map_location="cpu",
            mmap=True,
            weights_only=False,  # DTensors carry their mesh; the files are the run's own
        )
        for rank in range(world_size)
    ]
    for rank, shard in enumerate(shards):
        if shard.keys() != shards[0].keys():
            different = sorted(shard.keys() ^ shards[0].keys())
            raise ValueError(f"{actor_dir}: rank {rank} and rank 0 hold different keys: {', '.join(different[:5])}")
    return {name: _whole(name, [shard[name] for shard in shards]).to(dtype) for name in shards[0]}


def _whole(name: str, parts: list[torch.Tensor]) -> torch.Tensor:
    import torch
    from torch.distributed.tensor import DTensor, Replicate, Shard

    first = parts[0]
    if not isinstance(first, DTensor):
        # FSDP leaves unsharded what it does not manage: a copy on every rank.
        if any(not torch.equal(part, first) for part in parts):
            raise ValueError(f"{name}: got different copies of an unsharded tensor, expected the same on every rank")
        return first
    # Hybrid sharding has a leading dimension of replicas; the ranks of the first replica hold everything.
    *replicas, placement = first.placements
    num_shards = first.device_mesh.mesh.shape[-1]
    if any(not isinstance(replica, Replicate) for replica in replicas) or not isinstance(placement, Shard | Replicate):
        raise ValueError(f"{name}: got placements {first.placements}, expected replicas of one sharded dimension")
    local = [part.to_local() for part in parts[:num_shards] if isinstance(part, DTensor)]
    whole = local[0] if isinstance(placement, Replicate) else torch.cat(local, dim=placement.dim)
    if whole.shape != first.shape:
        raise ValueError(f"{name}: got shards of total shape {tuple(whole.shape)}, expected {tuple(first.shape)}")
    return whole


def _set_dtype(config: Path, dtype: str) -> None:
    """Name the dtype of the weights at every level; verl's merger says bfloat16 whatever they are."""

    def renamed(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: dtype if key == "dtype" and item else renamed(item) for key, item in value.items()}

    write_text(config, json.dumps(renamed(json.loads(config.read_text(encoding="utf-8"))), indent=2) + "\n")


def _check_loads(path: Path) -> None:
    from transformers import AutoModelForImageTextToText

    _, info = AutoModelForImageTextToText.from_pretrained(
        path, dtype="auto", output_loading_info=True, local_files_only=True
    )
    problems = {kind: sorted(map(str, keys)) for kind, keys in info.items() if keys}
    if problems:
        raise RuntimeError(f"the exported model does not load whole: {problems}")


def _provenance(run_dir: Path, step_dir: Path, dtype: str) -> dict[str, Any]:
    step = int(step_dir.name.rpartition("_")[2])
    validations = {event["step"]: event for event in events.validations(run_dir / events.FILE_NAME)}
    return {
        "run": run_dir.resolve().name,
        "step": step,
        "dtype": dtype,
        "validation": validations.get(step),
        "launch": json.loads((run_dir / VERSIONS).read_text(encoding="utf-8")),
    }
