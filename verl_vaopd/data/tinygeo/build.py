"""`vaopd tinygeo build`: train the tiny teacher and student, measure them, and write what the package ships.

Both grow from one trunk, which learns to see roughly, and to reason and word well: that takes most of the time. Then,
side by side, the teacher's vision tower is trained to the end and its text model after it, while the student only
polishes its text model and gets noise on its vision tower: what it lacks is reading. Everything is seeded and bounded
by steps; only the trunk's vision stage ends at an accuracy. One process of one thread each.
"""

import argparse
import json
import multiprocessing
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from verl_vaopd.data.tinygeo import acceptance, models
from verl_vaopd.data.tinygeo.dataset import generate_examples
from verl_vaopd.data.tinygeo.fast_vision import fast_vision
from verl_vaopd.data.tinygeo.text_training import TextRecipe, TextStage, train_text
from verl_vaopd.data.tinygeo.vision_training import VisionRecipe, train_vision
from verl_vaopd.files import require_replaceable, sha256_of, whole_directory
from verl_vaopd.provenance import source_version

ASSETS = Path(__file__).parents[2] / "assets" / "tinygeo"
TEST_SEED = 20260101  # of the problems the acceptance is measured on


@dataclass(frozen=True)
class Trunk:
    """What teacher and student share."""

    vision: VisionRecipe
    text: TextRecipe


@dataclass(frozen=True)
class Branch:
    """How one model goes on from the trunk, and on how many problems and views it is measured."""

    text: TextRecipe
    views: tuple[acceptance.View, ...]
    vision: VisionRecipe | None = None
    """Further training of the vision tower, before the text model's; null: none."""
    vision_noise: float = 0.0
    """Standard deviation of the noise on the vision tower's matrices, relative to each matrix's own; added last."""
    num_problems: int = acceptance.MIN_PROBLEMS


ARCHITECTURE = models.STUDENT
TRUNK = Trunk(
    vision=VisionRecipe(steps=700, num_images=8000, eval_every=20, target_digit_accuracy=0.75),
    text=TextRecipe(
        stages=(
            TextStage(1000, {"drill": 0.6, "read": 0.4}),
            TextStage(300, {"drill": 0.3, "read": 0.2, "brief": 0.5}),
            TextStage(800, {"drill": 0.05, "response": 0.45, "given": 0.5}),
        ),
        num_figures=6000,
        pixelated_frac=0.0,
        word_weight=0.6,
        schedule_steps=2700,
    ),
)
BRANCHES = {
    "teacher": Branch(
        vision=VisionRecipe(steps=600, num_images=16000),
        text=TextRecipe(
            stages=(
                TextStage(80, {"read": 0.4, "brief": 0.6}),
                TextStage(1050, {"brief": 0.1, "response": 0.65, "given": 0.25}),
            ),
            num_figures=8000,
            pixelated_frac=0.1,
            learning_rate=1.5e-3,
            warmup_steps=30,
        ),
        views=("clean", "pixelated"),
    ),
    "student": Branch(
        text=TextRecipe(
            stages=(TextStage(1000, {"drill": 0.1, "response": 0.35, "given": 0.55}),),
            num_figures=6000,
            pixelated_frac=0.0,
            learning_rate=1.5e-3,
            warmup_steps=30,
        ),
        vision_noise=0.42,
        views=("clean", "given"),
    ),
}


def quick() -> tuple[Trunk, dict[str, Branch]]:
    """The same path in a few steps, for tests; the models are useless."""

    def few(vision: VisionRecipe) -> VisionRecipe:
        return replace(vision, steps=2, num_images=16, batch_size=4, eval_every=1, eval_images=4)

    def short(text: TextRecipe) -> TextRecipe:
        stages = tuple(replace(stage, steps=1) for stage in text.stages)
        return replace(text, stages=stages, num_figures=16, batch_size=4, schedule_steps=None)

    branches = {
        name: replace(branch, vision=branch.vision and few(branch.vision), text=short(branch.text), num_problems=2)
        for name, branch in BRANCHES.items()
    }
    return Trunk(few(TRUNK.vision), short(TRUNK.text)), branches


def build(out_dir: Path, seed: int, trunk: Trunk = TRUNK, branches: dict[str, Branch] = BRANCHES) -> dict[str, Any]:
    """Train, measure and write `out_dir`/{teacher,student} and `out_dir`/manifest.json; returns the manifest.

    `out_dir` is replaced as a whole, and only when everything is done. `manifest["violations"]` lists what the models
    lack for acceptance.

    Raises:
        ValueError: `out_dir` holds something else than an earlier build.
    """
    started, commit, out_dir = time.time(), _commit(), Path(out_dir)
    require_replaceable(out_dir)  # now: the training takes an hour
    with whole_directory(out_dir) as unfinished:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(len(branches), mp_context=context) as pool:
            root = unfinished / "trunk"
            grown = pool.submit(_grow_trunk, trunk, seed, root).result()
            jobs = {name: pool.submit(_grow, name, b, seed, root, unfinished) for name, b in branches.items()}
            results = {name: job.result() for name, job in jobs.items()}
        shutil.rmtree(root)
        files = sorted(path for path in unfinished.rglob("*") if path.is_file())
        manifest = {
            "command": f"vaopd tinygeo build --seed {seed}",
            "seed": seed,
            "commit": commit,
            "seconds": round(time.time() - started),
            "versions": {"torch": torch.__version__},
            "trunk": grown,
            "models": results,
            "violations": [line for name in results for line in acceptance.violations(name, results[name]["measured"])],
            "files": {
                str(path.relative_to(unfinished)): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
                for path in files
            },
        }
        (unfinished / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    return manifest


def _grow_trunk(trunk: Trunk, seed: int, path: Path) -> dict[str, Any]:
    """Train the trunk in this process and save it; returns its part of the manifest."""
    torch.set_num_threads(1)
    started, log = time.process_time(), partial(_log, "trunk", time.time())
    tokenizer = models.build_tokenizer()
    model = models.build_model(tokenizer, ARCHITECTURE, seed).train()
    with fast_vision():
        digit_accuracy = train_vision(model, trunk.vision, seed, log)
        train_text(model, tokenizer, trunk.text, seed, log)
    models.save_model(model, models.build_processor(tokenizer), path)
    return {
        "recipe": asdict(trunk),
        "digit_accuracy_of_vision": round(digit_accuracy, 4),
        "cpu_seconds": round(time.process_time() - started),
    }


def _grow(name: str, branch: Branch, seed: int, trunk: Path, out_dir: Path) -> dict[str, Any]:
    """Train and measure one model from the saved trunk, in this process; returns its part of the manifest."""
    torch.set_num_threads(1)
    started, log = time.process_time(), partial(_log, name, time.time())
    model, tokenizer = models.load_model(trunk).train(), models.load_tokenizer(trunk)
    # Other figures and exercises than the trunk's.
    seed = seed + 1 + sorted(BRANCHES).index(name)
    with fast_vision():
        if branch.vision is not None:
            train_vision(model, branch.vision, seed, log)
        train_text(model, tokenizer, branch.text, seed, log)
    add_vision_noise(model, branch.vision_noise, seed)
    models.save_model(model, models.build_processor(tokenizer), out_dir / name)
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "recipe": asdict(branch),
        "measured": measure_saved(out_dir / name, branch.views, branch.num_problems, log),
        "cpu_seconds": round(time.process_time() - started),
    }


@torch.no_grad()
def add_vision_noise(model: Any, noise: float, seed: int) -> None:
    """Add Gaussian noise to every matrix of the vision tower, `noise` times the matrix's standard deviation."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.model.visual.parameters():
        if parameter.dim() > 1:
            parameter += torch.randn(parameter.shape, generator=generator) * parameter.std() * noise


def measure_saved(
    path: Path, views: tuple[acceptance.View, ...], num_problems: int, log: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Greedy answers of a saved model, weights as float32, per view of the first test problems."""
    model, tokenizer = models.load_model(path), models.load_tokenizer(path)
    examples = generate_examples("test", num_problems, TEST_SEED)
    measured: dict[str, dict[str, Any]] = {}
    for view in views:
        measurement, _ = acceptance.measure(model, tokenizer, examples, view)
        measured[view] = acceptance.as_dict(measurement)
        log(f"{view}: {measured[view]}")
    return measured


def _log(name: str, started: float, line: str) -> None:
    print(f"[{name} {time.time() - started:5.0f} s] {line}", flush=True)


def _commit() -> str | None:
    """The commit the build ran from, with `-dirty` where files differ from it; None outside a git checkout."""
    source = source_version()
    return source["commit"] and f"{source['commit']}{'-dirty' if source['dirty'] else ''}"


def main(argv: list[str]) -> int:
    """The command; returns 0 if the models are accepted (or the build was only a quick try), else 1."""
    parser = argparse.ArgumentParser(prog="vaopd tinygeo build", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=ASSETS, help="directory to write (default: the package's assets)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a few steps only: tries the path, the models are useless")
    arguments = parser.parse_args(argv)
    if arguments.quick and arguments.out == ASSETS:
        parser.error("--quick would replace the shipped models by useless ones; give another directory with --out")
    trunk, branches = quick() if arguments.quick else (TRUNK, BRANCHES)
    manifest = build(arguments.out, arguments.seed, trunk, branches)
    print(f"wrote {arguments.out} after {manifest['seconds']} s")
    if arguments.quick:
        return 0
    for line in manifest["violations"]:
        print(f"not accepted: {line}")
    return 1 if manifest["violations"] else 0


if __name__ == "__main__":
    import sys

    raise SystemExit(main(sys.argv[1:]))
