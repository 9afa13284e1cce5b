"""A stand-in for the training process that leaves behind what a real one does, with a configuration to match.

python stand_in_training.py --keep-going --run-dir RUN ...

A file RUN-NAME.json beside a run directory makes its run end otherwise: {"fail": text}, {"refuse": text},
{"die": text}, {"sleep": true}.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

from verl_vaopd.runs.checkpoints import checkpoint_path, link_best, mark_complete
from verl_vaopd.runs.events import EventLog, validations
from verl_vaopd.runs.run_dir import mark_finished
from verl_vaopd.runs.validation_samples import write_samples

NUM_QUESTIONS, NUM_SAMPLES = 6, 8
# Right samples more per question and validation.
GAIN = {"base": 0, "opd": 1, "vaopd": 2, "opsd": 1, "grpo": -1, "cot_sft": -1}
START = {"boundary": 2, "end": 3}  # right samples more, by name of the student's directory


def small_configuration(overrides):
    """What the launching commands read of a configuration, without the seconds that composing takes."""
    cfg = OmegaConf.create(
        {
            "run": {"root": "runs", "name": None, "dir": "???", "seed": 0, "fresh": False, "changed_data": False},
            "method": {"name": "vaopd", "stored_responses": False},
            "student": {"name": "tiny", "path": "./init"},
            "teacher": {"name": "tiny", "path": "./teacher"},
            "dataset": {"name": "tinygeo", "root": "data", "overlong": "error"},
            "data": {"train_files": "data/train.parquet", "val_files": ["data/validation.parquet"]},
            "validation": {"n": 8, "every": 2, "splits": ["validation"], "patience": None},
            "checkpoint": {"every": 2, "keep": None},
            "trainer": {"total_training_steps": 4, "save_freq": 2, "val_only": False},
            "loss": {"divergence": "reverse_kl", "temperature": 1.0, "js_beta": 0.5, "top_k": 32, "token_clip": None},
            "weighting": {"name": "uniform"},
            "preflight": {"waive": []},
            "actor_rollout_ref": {"rollout": {"temperature": 0.7, "top_p": 0.95, "top_k": -1}},
        }
    )
    for override in overrides:
        key, _, value = override.partition("=")
        if key == "method":
            cfg.method.name = value
        elif key not in ("hardware", "student", "teacher", "dataset"):
            OmegaConf.update(cfg, key, OmegaConf.create(f"value: {value}").value, force_add=True)
    return cfg


def answers_at(method: str, seed: int, step: int, split: str) -> np.ndarray:
    """[Q, n] right or wrong: question q has min(q % 3 + gain of the method x steps / 2 + seed, n) right samples."""
    num_right = np.arange(NUM_QUESTIONS) % 3 + GAIN[method] * step // 2 + seed - (split != "validation")
    return (np.arange(NUM_SAMPLES) < num_right[:, None]).astype(float)


def rows_of(correct: np.ndarray, split: str, mean_va: float, entropy: float) -> list[dict]:
    """One row per sample; the answer of a right one is "7", others differ; NaN is a failed sample."""
    return [
        {
            "split": split,
            "question_id": str(question),
            "sample": sample,
            "accuracy": value,
            "mean_va": mean_va + question / 1000,
            "entropy": entropy,
            "num_tokens": 10,
            "truncated": False,
            "answer": "7" if value == 1 else f"wrong {sample}" if value == 0 else None,
        }
        for question, of_question in enumerate(correct)
        for sample, value in enumerate(of_question)
    ]


def write_run(path: Path, method: str, seed: int, splits=("validation",), start=0) -> Path:
    """A finished run: events, answers, checkpoints of the validated steps. `start`: right samples more at all steps."""
    steps = (0,) if method == "base" else (0, 2, 4)
    with EventLog(path / "events.jsonl") as log:
        for step in range(1, steps[-1] + 1):
            metrics = {"perf/step/seconds": 100.0 if step == 1 else step + seed, "vaopd/entropy/policy": 1 / step}
            log.write("step", step=step, total=steps[-1], metrics=metrics)
        for step in steps:
            correct = {split: answers_at(method, seed + start, step, split) for split in splits}
            write_samples(
                path,
                step,
                [row for split in splits for row in rows_of(correct[split], split, step / 100, 2 - step / 4)],
            )
            accuracy = float(correct[splits[0]].mean())
            limits = {f"{name}_{end}": 0.5 for name in ("accuracy", "mean_va") for end in ("low", "high")}
            counts = {"n_questions": NUM_QUESTIONS, "n_samples": NUM_QUESTIONS * NUM_SAMPLES, "n_missing": 0}
            if step > 0:
                checkpoint = checkpoint_path(path / "checkpoints", step)
                checkpoint.mkdir(parents=True)
                (checkpoint / "data.pt").write_bytes(b"x")
                mark_complete(checkpoint)
            log.write("validation", step=step, accuracy=accuracy, mean_va=step / 100, **limits, **counts)
        if steps[-1] > 0:
            link_best(path / "checkpoints", validations(path / "events.jsonl"))
    mark_finished(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run-dir", type=Path, action="append")
    parser.add_argument("--keep-going", action="store_true")
    options = parser.parse_args()
    for path in options.run_dir:
        behaviour = path.with_suffix(".json")
        todo = json.loads(behaviour.read_text()) if behaviour.exists() else {}
        if "die" in todo:
            sys.exit(todo["die"])
        if "sleep" in todo:
            (path.parent / "sleeping").touch()
            time.sleep(600)
        ended = [(event, todo[word]) for word, event in (("fail", "failed"), ("refuse", "refused")) if word in todo]
        if ended:
            assert options.keep_going
            with EventLog(path / "events.jsonl") as log:
                log.write(ended[0][0], text=ended[0][1])
            continue
        cfg = OmegaConf.load(path / "config.yaml")
        start = START.get(Path(cfg.student.path).name, 0)
        write_run(path, cfg.method.name, cfg.run.seed, tuple(cfg.validation.splits), start)


if __name__ == "__main__":
    main()
