"""The pilot of docs/pilot.md: every method, its learning rate from a sweep on validation, compared on test questions.

    python -m benchmarks.pilot --root runs/pilot            # hours on two cores; the same command continues

1. `vaopd collect`: the teacher's responses for cot_sft and offpolicy_kd.
2. One `vaopd compare` per learning rate: one seed, validated after the last step on the validation split. A method
   takes the rate of its best accuracy there, the lower one on ties.
3. One `vaopd compare` of all methods over all seeds, each at its own rate, on the test split, which nothing was chosen
   on: every run is validated once, after its last step, so no checkpoint is selected either.

Writes the small raw numbers and the machine's description into benchmarks/results/pilot/.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine

RESULTS = Path(__file__).parent / "results" / "pilot"
RAW = ("comparison.json", "comparison.md", "steps.csv", "questions.parquet")
METHODS = (
    "opd",
    "vaopd",
    "vaopd_rollout_only",
    "vaopd_token_only",
    "opd_mask_high",
    "opd_mask_low",
    "opd_mask_random",
    "offpolicy_kd",
    "cot_sft",
    "grpo",
    "papo",
    "papo_dapo",
    "opsd",
)
"""The trained methods; the others are compared to the first."""
LEARNING_RATES = ("3e-5", "1e-4")
RATE = "actor_rollout_ref.actor.optim.lr"


def vaopd(*arguments: str) -> None:
    """Run one command of this project to its end; its own output is the progress."""
    print("vaopd", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "verl_vaopd.cli", *arguments], check=True)


def sweep(options: argparse.Namespace, job: list[str]) -> list[dict[str, Any]]:
    """Accuracy on the validation split of every method at every learning rate: rows method, lr, accuracy."""
    rows = []
    for rate in options.rates:
        name = f"sweep-{rate}"
        overrides = [f"method={','.join(options.methods)}", "seeds=0", f"run.name={name}", f"{RATE}={rate}"]
        vaopd("compare", *overrides, *job, f"validation.num_questions={options.sweep_questions}")
        comparison = json.loads((options.root / f"compare-{name}" / "comparison.json").read_text())
        rows += [
            {"method": found["method"], "lr": rate, "accuracy": found["accuracy_last"]}
            for found in comparison["methods"]
        ]
    return rows


def best_rates(rows: list[dict[str, Any]]) -> dict[str, str]:
    """{method: the rate of its highest accuracy, the lower one on ties}."""
    best: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: float(row["lr"])):
        if row["method"] not in best or row["accuracy"] > best[row["method"]]["accuracy"]:
            best[row["method"]] = row
    return {method: row["lr"] for method, row in best.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("runs/pilot"))
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--rates", nargs="+", default=LEARNING_RATES)
    parser.add_argument("--seeds", nargs="+", default=("0", "1"))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--sweep-questions", type=int, default=64)
    parser.add_argument("--questions", type=int, default=128)
    parser.add_argument("overrides", nargs="*", default=[])
    options = parser.parse_args()
    groups = ["hardware=cpu", "dataset=tinygeo", "student=tiny", "teacher=tiny"]
    data = [*groups, *options.overrides, f"run.root={options.root}", f"dataset.root={options.root / 'tinygeo'}"]
    vaopd("collect", "method=cot_sft", *data)
    every = (f"{key}={options.steps}" for key in ("validation.every", "checkpoint.every"))
    job = [*data, f"trainer.total_training_steps={options.steps}", *every, "validation.before_train=false"]

    rows = sweep(options, [*job, "dump.every=-1"])
    rates = best_rates(rows)
    print("learning rates:", json.dumps(rates), flush=True)

    own = [argument for method, rate in rates.items() for argument in ("--for", method, f"{RATE}={rate}")]
    test = ["validation.splits=[test]", f"validation.num_questions={options.questions}", "run.name=pilot"]
    overrides = [f"method={','.join(options.methods)},base", f"seeds={','.join(options.seeds)}", *test, *job]
    vaopd("compare", *overrides, *own, "--for", "base", "validation.before_train=true")

    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in RAW:
        shutil.copyfile(options.root / "compare-pilot" / name, RESULTS / name)
    with (RESULTS / "sweep.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["method", "lr", "accuracy"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (RESULTS / "machine.json").write_text(json.dumps(describe_machine(), indent=2) + "\n")


if __name__ == "__main__":
    main()
