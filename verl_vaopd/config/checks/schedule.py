"""When a run validates, saves and dumps, and whether it can reach its end.

A checkpoint can become `best` only if its step was validated and saved, and verl saves before it validates. So every
validated step must be a saved one: the distance of checkpoints divides the distance of validations. The last step is
both, whatever the distances. -1 switches either off; without checkpoints there is no best one, which is allowed.
"""

from __future__ import annotations

from omegaconf import DictConfig

from verl_vaopd.config.errors import Findings, listing
from verl_vaopd.config.following import num_asked
from verl_vaopd.data.generated import GENERATED


def check_schedule(cfg: DictConfig, findings: Findings) -> None:
    """Distances of validations, checkpoints and dumps, and the number of steps."""
    trainer = cfg.trainer
    intervals = {
        "validation.every": trainer.test_freq,
        "checkpoint.every": trainer.save_freq,
        "dump.every": cfg.dump.every,
    }
    sound = [
        findings.require_range(key, every, "at least 1 step, or -1 for never", every == -1 or every >= 1, 50)
        for key, every in intervals.items()
    ]
    if all(sound) and trainer.test_freq > 0 and trainer.save_freq > 0:
        findings.require(
            trainer.test_freq % trainer.save_freq == 0,
            "validated steps would not be saved, so none of them could become the best checkpoint",
            got=f"validation.every={trainer.test_freq}, checkpoint.every={trainer.save_freq}",
            expected="checkpoint.every divides validation.every",
            fix=f"checkpoint.every={trainer.test_freq}",
        )
    findings.require(
        cfg.dump.num_heldout_prompts <= cfg.validation.num_questions,
        "more held-out prompts are dumped than validated",
        got=f"dump.num_heldout_prompts={cfg.dump.num_heldout_prompts}",
        expected=f"at most validation.num_questions={cfg.validation.num_questions}",
        fix=f"dump.num_heldout_prompts={cfg.validation.num_questions}",
    )
    splits = list(cfg.validation.splits)
    findings.require(
        len(splits) > 0 and len(set(splits)) == len(splits),
        "held-out splits",
        got=f"validation.splits={splits}",
        expected="at least one, each once; the first selects checkpoints",
        fix="validation.splits=[validation]",
    )
    epochs, steps = trainer.total_epochs, trainer.total_training_steps
    findings.require_range("trainer.total_epochs", epochs, "at least 1", epochs >= 1, 5)
    findings.require(
        steps is None or (isinstance(steps, int) and steps >= 1),
        "trainer.total_training_steps is out of range",
        got=steps,
        expected="null (all epochs) or at least 1",
        fix="trainer.total_training_steps=null",
    )
    if cfg.dataset.name in GENERATED:
        _check_generated_sizes(cfg, findings)


def _check_generated_sizes(cfg: DictConfig, findings: Findings) -> None:
    dataset, prompts = cfg.dataset, cfg.data.train_batch_size
    sized = [
        findings.require(
            dataset[key] is not None and dataset[key] >= least,
            f"dataset.{key} is too small",
            got=dataset[key],
            expected=f"at least {least} ({why})",
            fix=f"leave dataset.{key} alone: it follows what is asked for",
        )
        for key, least, why in (
            ("num_train", prompts, "data.train_batch_size"),
            ("num_validation", num_asked(cfg, "validation"), "validation.num_questions, if it is asked any"),
            ("num_test", num_asked(cfg, "test"), "validation.num_questions, if a test split is asked any"),
        )
    ]
    unknown = [split for split in cfg.validation.splits if split not in GENERATED[dataset.name].SPLITS]
    findings.require(
        not unknown,
        "unknown held-out split",
        got=f"validation.splits={listing(cfg.validation.splits)}",
        expected=f"splits of {dataset.name}: {listing(GENERATED[dataset.name].SPLITS)}",
        fix="validation.splits=[validation,test_ood]",
    )
    steps = cfg.trainer.total_training_steps
    epochs = cfg.trainer.total_epochs
    if all(sized) and prompts >= 1 and epochs >= 1 and isinstance(steps, int):
        available = dataset.num_train // prompts * epochs
        findings.require(
            steps <= available,
            "the data end before the last step",
            got=f"trainer.total_training_steps={steps}",
            expected=f"at most {available} (dataset.num_train // data.train_batch_size x trainer.total_epochs)",
            fix=f"dataset.num_train={-(-steps // epochs) * prompts}, or more epochs",
        )
