"""Real runs through verl, vLLM and Ray on the CPU, shared by all end-to-end tests.

One training process runs VA-OPD (colocated teacher), Standard OPD (teacher pool) and a greedy reference run one after
the other; importing is shared, and nothing is mocked. Standard OPD's student has a head with more rows than tokens, and
its validation is asked in three batches. Two more runs end at their checks: one that fails, and one that makes no step.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from omegaconf import DictConfig

import verl_vaopd
from tests.e2e.wide_head import widen
from verl_vaopd.config import compose, validate
from verl_vaopd.platform import activate
from verl_vaopd.runs import events, run_dir
from verl_vaopd.runs.token_dump import read_dumps

NUM_PROMPTS, NUM_SIBLINGS = 4, 3
SMALL = [
    "hardware=cpu",
    "dataset=tinygeo",
    "student=tiny",
    "teacher=tiny",
    f"data.train_batch_size={NUM_PROMPTS}",
    f"actor_rollout_ref.rollout.n={NUM_SIBLINGS}",
    "dataset.num_train=64",
    "dataset.num_validation=8",
    "dataset.num_test=8",
    "validation.num_questions=8",
    "validation.n=2",
    "validation.every=2",
    "checkpoint.every=2",
    "preflight.num_prompts=3",
    "dump.every=1",
    "dump.num_heldout_prompts=3",
    f"dump.num_train_rollouts={NUM_PROMPTS * NUM_SIBLINGS}",
    # Large enough that a few steps move the log-probs well beyond rounding.
    "actor_rollout_ref.actor.optim.lr=3e-4",
    "actor_rollout_ref.actor.optim.lr_warmup_steps_ratio=0.0",
    "trainer.total_training_steps=4",
]
GREEDY_VALIDATION = "validation.temperature=0.0"
GREEDY = ["actor_rollout_ref.rollout.temperature=0.0", "actor_rollout_ref.rollout.top_p=1.0", GREEDY_VALIDATION]
STOPPED = ["preflight.max_log_prob_gap=1e-30", "preflight.num_prompts=2"]
CHECKS_ONLY = "preflight.only=true"
STUDENT = Path(verl_vaopd.__file__).parent / "assets" / "tinygeo" / "student"


@dataclass
class Run:
    """A finished run and what it left behind."""

    path: Path
    config: DictConfig

    @property
    def steps(self) -> list[dict[str, Any]]:
        return events.steps(self.path / events.FILE_NAME)

    @property
    def validations(self) -> list[dict[str, Any]]:
        return events.validations(self.path / events.FILE_NAME)

    def dump(self, split: str) -> pa.Table:
        return read_dumps(self.path, split)


def overrides_in(root: Path, *more: str) -> list[str]:
    """A small job that writes below `root` only."""
    return [*SMALL, f"run.root={root / 'runs'}", f"dataset.root={root / 'tinygeo'}", *more]


def prepared(root: Path, *more: str) -> Run:
    """A run directory as `vaopd train` prepares it."""
    overrides = overrides_in(root, *more)
    config = compose(overrides)
    validate(config)
    run = run_dir.prepare(config, overrides, ["tests/e2e"])
    return Run(run.path, run_dir.with_dir(config, run.path))


@pytest.fixture(scope="session")
def work_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("e2e")


@pytest.fixture(scope="session")
def runs(work_dir: Path) -> dict[str, Run]:
    """`vaopd`, `opd` (with the teacher on a pool of its own) and `greedy`, trained to their ends in one process.

    `stopped` fails its checks, with a bound that nothing keeps; `checked` makes them and no step.
    """
    activate()
    jobs = {
        "vaopd": prepared(work_dir, "run.name=vaopd", "method=vaopd"),
        "opd": prepared(
            work_dir,
            "run.name=opd",
            "method=opd",
            f"student.path={widen(STUDENT, work_dir / 'wide')}",
            # vLLM's log-probs are of all rows of the wide head, the trainer's of the tokens alone: 0.005 nats.
            "preflight.max_log_prob_gap=0.1",
            "validation.prompts_per_batch=3",
            GREEDY_VALIDATION,
            "teacher.placement=pool",
            "teacher.n_gpus=1",
            "trainer.total_training_steps=3",
            "checkpoint.every=3",
            "validation.every=3",
        ),
        "stopped": prepared(work_dir, "run.name=stopped", *STOPPED),
        "checked": prepared(work_dir, "run.name=checked", *STOPPED, "preflight.waive=[log_prob_gap]", CHECKS_ONLY),
        "greedy": prepared(work_dir, "run.name=greedy", *GREEDY, "validation.every=4"),
    }
    command = [sys.executable, "-m", "verl_vaopd.trainer.main", "--keep-going"]
    for job in jobs.values():
        command += ["--run-dir", str(job.path)]
    log = work_dir / "train.log"
    with log.open("wb") as output:
        code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, timeout=1500).returncode
    unfinished = [name for name, job in jobs.items() if not run_dir.is_finished(job.path)]
    if code != 1 or unfinished != ["stopped"]:
        logs = [log, *(job.path / "train.log" for job in jobs.values())]
        ends = [path.read_text(errors="replace")[-5_000:] for path in logs if path.exists()]
        pytest.fail(f"training ended with {code}, unfinished {unfinished}:\n" + "\n".join(ends))
    return jobs
