"""Checkpoints as a training worker writes them: python -m tests.engine.write_checkpoints DIRECTORY.

For one and for two gloo ranks, and for a student with a tied and one with an untied head: DIRECTORY/checkpoints_W/NAME
holds verl's `actor` folder, sharded over W ranks, and `reference.pt`, the whole weights.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from tests.engine import harness

WORLD_SIZES = (1, 2)


def run_rank(rank: int, world_size: int, directory: Path) -> None:
    harness.init_process_group(directory / f"checkpoint_store_{world_size}", rank, world_size)
    for name in harness.STUDENTS:
        engine = harness.build_student(directory / name, directory / "teacher")
        with torch.no_grad():
            for parameter in engine.module.parameters():
                parameter.mul_(1.25)  # no longer the weights of the directory that the model was loaded from
        path = directory / f"checkpoints_{world_size}" / name
        engine.save_checkpoint(local_path=str(path / "actor"), global_step=1)
        whole = {key: value.full_tensor().clone() for key, value in engine.module.state_dict().items()}
        if rank == 0:
            torch.save(whole, path / "reference.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    for world_size in WORLD_SIZES:
        # Forked, so that verl is imported once; nothing has started a thread yet.
        torch.multiprocessing.start_processes(
            run_rank, args=(world_size, Path(sys.argv[1])), nprocs=world_size, start_method="fork"
        )
