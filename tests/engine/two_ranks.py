"""A training step on two data-parallel gloo ranks: python -m tests.engine.two_ranks DIRECTORY.

Reads the models and prompts of DIRECTORY, writes DIRECTORY/two_ranks.pt: an Update for every case of CASES, its token
outputs in the order of the rollouts. Teacher and student are both sharded over the ranks.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from tests.engine import harness
from tests.engine.harness import Batching, Update
from verl_vaopd.actor.engine import StudentEngine

# Rows: 0-2 square, 3-4 wide, 5-6 text, 7 alone (harness.py). Numbers of tokens: 75 64 70 89 85 28 32 87, more or less.
SPLIT_SIBLINGS = ((0, 3, 5, 7), (4, 1, 6, 2))
UNEQUAL = ((3, 4, 7, 0), (5, 6, 1, 2))
"""The second rank has fewer tokens and, with micro-batches of 1 or 2, some without any image."""

CASES: dict[str, tuple[str, tuple[tuple[int, ...], ...], Batching]] = {
    "siblings split, 1 row": ("student", SPLIT_SIBLINGS, Batching(rows=1)),
    "siblings split, 2 rows, packed": ("student", SPLIT_SIBLINGS, Batching(rows=2, packed=True)),
    "siblings split, 200 tokens": ("student", SPLIT_SIBLINGS, Batching(tokens=200)),
    "unequal tokens, 1 row": ("student", UNEQUAL, Batching(rows=1)),
    "unequal tokens, 2 rows": ("student", UNEQUAL, Batching(rows=2)),
    "unequal tokens, 200 tokens, packed": ("student", UNEQUAL, Batching(tokens=200, packed=True)),
    "untied head, 2 rows": ("untied_student", SPLIT_SIBLINGS, Batching(rows=2)),
}


def run_rank(rank: int, directory: Path) -> None:
    harness.init_process_group(directory / "two_ranks_store", rank, world_size=2)
    batch = harness.load_rows(directory)
    teacher = harness.build_teacher(directory / "teacher")
    students = {name: harness.build_student(directory / name, directory / "teacher") for name in harness.STUDENTS}
    results: dict[str, Update] = {}
    for case, (name, split, batching) in CASES.items():
        mine = [batch[row] for row in split[rank]]
        scores = harness.score(teacher, mine, batching)
        hidden = scores.pop("teacher_hidden_states")
        # What the driver does: whole sibling groups are weighed, wherever their rows are.
        weights = harness.weigh(batch, _gather(scores, split))
        update = harness.update(students[name], mine, hidden, [weights[row] for row in split[rank]], batching)
        update.token_outputs = _gather(update.token_outputs, split)
        results[case] = update
    results["papo"] = _papo(rank, batch, students["student"])
    if rank == 0:
        torch.save(results, directory / "two_ranks.pt")
    torch.distributed.destroy_process_group()


def _papo(rank: int, batch: list[harness.Row], student: StudentEngine) -> Update:
    """A policy gradient with a second view of the images, through which gradient flows."""
    student.objective = harness.PAPO
    advantages = harness.row_advantages(batch)
    mine = SPLIT_SIBLINGS[rank]
    return harness.update(
        student,
        harness.with_masked_view([batch[row] for row in mine]),
        hidden=None,
        weights=None,
        batching=Batching(rows=2),
        policy_loss=harness.policy_loss(),
        advantages=[advantages[row] for row in mine],
    )


def _gather(
    outputs: dict[str, list[torch.Tensor]], split: tuple[tuple[int, ...], ...]
) -> dict[str, list[torch.Tensor]]:
    """Outputs of all ranks, in the order of the rollouts."""
    parts: list = [None, None]
    torch.distributed.all_gather_object(parts, outputs)
    place = {row: (rank, position) for rank, mine in enumerate(split) for position, row in enumerate(mine)}
    return {name: [parts[place[row][0]][name][place[row][1]] for row in sorted(place)] for name in outputs}


if __name__ == "__main__":
    # Forked, so that verl is imported once; nothing has started a thread yet.
    torch.multiprocessing.start_processes(run_rank, args=(Path(sys.argv[1]),), nprocs=2, start_method="fork")
