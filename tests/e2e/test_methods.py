"""Every method trains: real verl, vLLM and Ray on the CPU, one after the other in one Ray session."""

from __future__ import annotations

import contextlib
import math
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.conftest import TRAINING
from tests.e2e.conftest import Run, prepared
from verl_vaopd.config.paths import options
from verl_vaopd.data.stored import StoredResponses
from verl_vaopd.runs.validation_samples import read_samples

# All runs together, in the first test that asks for them.
pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group(TRAINING), pytest.mark.timeout(2400)]

STEPS = 3
ALREADY = ("opd", "vaopd")
"""What the fixture `runs` has trained."""
TRAINED = tuple(name for name in options("method") if name not in ("base", *ALREADY))
SWITCHES = {
    "opd_mask_low": ("loss.divergence=k1",),
    "opd_mask_random": ("loss.reward_coef=0.5",),
    "vaopd_token_only": ("vaopd.advantage=divergence_gap", "vaopd.high_rule=mass"),
    "vaopd_rollout_only": ("view.kind=other_image", "vaopd.rollout_shrinkage=0.01"),
    "papo": ("papo.masked_gradient=true",),
    "opsd": ("teacher.ema_decay=0.5", "checkpoint.every=2"),
}
"""What else takes the whole way through the system is switched on in one of the runs, each start-up being dear."""
ON_OWN_DATA = "vaopd_rollout_only"
"""The method that trains on rows as somebody else writes them, and shows the teacher images of other rows."""
SMALLEST = (
    "data.train_batch_size=2",
    "dataset.num_train=16",
    "validation.every=-1",  # but the last step
    "validation.before_train=false",
    "checkpoint.every=-1",
    "dump.every=3",
    "dump.num_train_rollouts=8",
    "collect.n=3",
    "collect.keep=3",
    "preflight.num_prompts=1",
    f"trainer.total_training_steps={STEPS}",
)
FEW_QUESTIONS = ("validation.num_questions=2", "validation.n=1", "dump.num_heldout_prompts=2")
BASE = (
    "method=base",
    "validation.before_train=true",
    "validation.splits=[validation,test_ood]",
    "validation.entropy=true",
)


def own_rows(path: Path) -> Path:
    """Training data as somebody else writes them: image files of several modes beside the file, no index, no split."""
    path.mkdir()
    pictures, turned = [Image.new("RGB", (96, 60), "white") for _ in range(3)], Image.Exif()
    for number, picture in enumerate(pictures):  # no two alike: one of them is another one's degraded view
        picture.paste("black", (24 * number, 0, 24 * number + 48, 30))
    turned[0x0112] = 6
    pictures[0].rotate(90, expand=True).save(path / "turned.png", exif=turned)
    pictures[1].convert("P").save(path / "palette ü.png")
    Image.fromarray(np.asarray(pictures[2].convert("L")).astype(np.uint16) * 257).save(path / "deep.png")
    names = ("turned.png", "palette ü.png", str(path / "deep.png"))
    rows = [
        {
            "prompt": [{"role": "user", "content": "<image>What is the perimeter?" if number else "What is 6 + 7?"}],
            "images": [names[number % 3]] if number else [],
            "data_source": "exact_match",
            "reward_model": {"ground_truth": "13"},
        }
        for number in range(8)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path / "train.parquet")
    return path / "train.parquet"


@dataclass
class Session:
    """What ran in one process."""

    runs: dict[str, Run]
    most_actors: Counter[str]
    """Of each class, how many there were at most at a time."""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, runs: dict[str, Run]) -> Session:
    """All methods in one process. The base model is an export of an earlier run, which vLLM and transformers load."""
    from verl_vaopd.runs.export import export

    root = tmp_path_factory.mktemp("methods")
    exported = export(runs["vaopd"].path, checkpoint="last", out=root / "exported", dtype="float32")
    own = own_rows(root / "own data")
    jobs = {name: (f"method={name}", *FEW_QUESTIONS, *SWITCHES.get(name, ())) for name in TRAINED} | {
        "base": (*BASE, f"student.path={exported}")
    }
    jobs[ON_OWN_DATA] += (f"data.train_files={own}", "dataset.prompt_suffix=' Go on.'", "dataset.min_pixels=8192")
    runs = {
        name: prepared(root, *SMALLEST, f"run.name={name}", f"collect.path={root / 'responses'}", *overrides)
        for name, overrides in jobs.items()
    }
    directories = [argument for run in runs.values() for argument in ("--run-dir", str(run.path))]
    command = [sys.executable, "-m", "verl_vaopd.trainer.main", "--keep-going", *directories]
    most_actors: Counter[str] = Counter()
    process = subprocess.Popen(command)
    while process.poll() is None:
        most_actors |= actors_below(process.pid)
        time.sleep(2)
    code = process.returncode
    failed = {name: run.path / "train.log" for name, run in runs.items() if not (run.path / "finished.json").exists()}
    ends = [f"{name}:\n{log.read_text()[-5_000:]}" for name, log in failed.items() if log.exists()]
    assert code == 0 and not failed, f"exit code {code}, not finished: {', '.join(failed)}\n" + "\n".join(ends)
    return Session(runs, most_actors)


@pytest.fixture(scope="module")
def methods(session: Session, runs: dict[str, Run]) -> dict[str, Run]:
    """The finished runs by method."""
    return session.runs | {name: runs[name] for name in ALREADY}


def actors_below(pid: int) -> Counter[str]:
    """Ray actors by class, from the titles of the processes that descend from one: `ray::Class.method`."""
    titles = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                titles += process.cmdline()[:1]
    return Counter(title.split(".")[0] for title in titles if title.startswith("ray::") and "IDLE" not in title)


@pytest.mark.parametrize("name", TRAINED)
def test_it_trains(methods: dict[str, Run], name: str) -> None:
    steps = methods[name].steps
    assert [step["step"] for step in steps] == list(range(1, STEPS + 1))
    for step in steps:
        metrics = step["metrics"]
        assert math.isfinite(metrics["actor/loss"]) and math.isfinite(metrics["actor/grad_norm"])
        assert metrics["vaopd/num_prompts"] + metrics["vaopd/num_filtered_prompts"] + metrics[
            "vaopd/num_dropped_prompts"
        ] == pytest.approx(2)
    # A policy gradient is 0 while siblings are all right or all wrong, unless something else is in the loss.
    moved = any(step["metrics"]["actor/grad_norm"] > 0 for step in steps)
    assert moved or name == "grpo"


def test_no_actor_outlives_its_run(session: Session) -> None:
    """The one without a name in Ray holds 0.8 GB, and a comparison is dozens of runs."""
    assert session.most_actors["ray::GlobalRequestLoadBalancer"] == 1


def test_all_methods_see_the_same_prompts(methods: dict[str, Run]) -> None:
    """In the third step; where prompts may be left out, no others."""
    asked = {
        name: {row["question_id"] for row in methods[name].dump("train").to_pylist()}
        for name in TRAINED
        if name != ON_OWN_DATA
    }
    everything = asked["grpo"]
    assert len(everything) == 2
    for name, questions in asked.items():
        leaves_out = name in ("papo_dapo", "cot_sft", "offpolicy_kd")
        assert questions <= everything if leaves_out else questions == everything, name


@pytest.mark.parametrize("name", [*TRAINED, *ALREADY])
def test_the_loss_is_made_of_what_is_reported(methods: dict[str, Run], name: str) -> None:
    config = methods[name].config
    for step in methods[name].steps:
        metrics = step["metrics"]
        expected = metrics.get("vaopd/loss", 0.0) + config.loss.reward_coef * metrics.get("actor/pg_loss", 0.0)
        if config.actor_rollout_ref.actor.use_kl_loss:
            expected += config.actor_rollout_ref.actor.kl_loss_coef * metrics["actor/kl_loss"]
        expected -= config.papo.perception_coef * metrics.get("actor/perception_kl", 0.0)
        if not config.papo.entropy_coef:
            assert metrics["actor/loss"] == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_stored_responses_are_replayed(methods: dict[str, Run]) -> None:
    """What cot_sft trained on is what was collected, and nothing was sampled."""
    run = methods["cot_sft"]
    stored = StoredResponses(Path(run.config.collect.path))
    dump = run.dump("train").to_pylist()
    assert dump
    for row in dump:
        assert row["token_ids"] in stored.responses(row["question_id"])
        assert row["accuracy"] == 1.0
    assert all("vaopd/log_prob_gap/mean_abs" not in step["metrics"] for step in run.steps)


def test_negative_log_likelihood_is_reported_as_such(methods: dict[str, Run]) -> None:
    """Tokens alike, then rollouts, then prompts."""
    for row in methods["cot_sft"].dump("train").to_pylist():
        assert row["token_weights"] == pytest.approx([row["token_weights"][0]] * len(row["token_ids"]))


def test_masked_controls_leave_tokens_out(methods: dict[str, Run]) -> None:
    for which in ("high", "low", "random"):
        for row in methods[f"opd_mask_{which}"].dump("train").to_pylist():
            count = len(row["token_ids"])
            left_out = [t for t, weight in enumerate(row["token_weights"]) if weight == 0]
            assert len(left_out) == -(-count // 10)
            if which == "high":
                assert min(row["visual_advantage"][t] for t in left_out) >= max(
                    va for t, va in enumerate(row["visual_advantage"]) if t not in left_out
                )


def test_a_moving_teacher_is_part_of_the_checkpoint(methods: dict[str, Run]) -> None:
    checkpoint = methods["opsd"].path / "checkpoints/global_step_2"
    assert (checkpoint / "teacher/world_size_1_rank_0.pt").is_file()


def test_the_privileged_teacher_knows_better(methods: dict[str, Run]) -> None:
    """It reads the reference solution; the student at the start is the same model without it."""
    first = methods["opsd"].steps[0]["metrics"]
    assert first["vaopd/reverse_kl/all"] > 1e-4


def test_the_base_model_is_only_measured(methods: dict[str, Run]) -> None:
    run = methods["base"]
    assert run.steps == [] and len(run.validations) == 1
    rows = read_samples(run.path, 0).to_pylist()
    assert {row["split"] for row in rows} == {"validation", "test_ood"}
    assert len(rows) == 2 * 8 * 2
    assert all(row["entropy"] > 0 for row in rows)
    assert run.validations[0]["accuracy"] == pytest.approx(
        sum(row["accuracy"] for row in rows if row["split"] == "validation") / 16
    )
    assert set(run.validations[0]["other_splits"]) == {"test_ood"}


def test_rows_of_ones_own(methods: dict[str, Run]) -> None:
    """The row's number is the question's id, and the suffix and the limit of pixels are in every prompt."""
    rows = methods[ON_OWN_DATA].dump("train").to_pylist()
    assert len(rows) >= 4 and {row["question_id"] for row in rows} <= {str(number) for number in range(8)}
    for row in rows:
        assert "Go on.<|im_end|>" in row["prompt"]
        # 96 x 60 pixels would be 6 x 4 tokens of 16 x 16; at least 8192 of them are 8 x 5.
        assert row["prompt"].count("<|image_pad|>") == (0 if row["question_id"] == "0" else 8 * 5)
    assert any("<|image_pad|>" in row["prompt"] for row in rows)
