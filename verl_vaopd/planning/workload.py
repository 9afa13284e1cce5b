"""What a job has to do: rollouts, tokens and images of a step, and how many steps and validations there are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from verl_vaopd.config.following import longest_rollout, longest_scored
from verl_vaopd.config.objective import Objective
from verl_vaopd.data.files import is_made_here, train_files
from verl_vaopd.data.prepared import PREPARED
from verl_vaopd.planning.assumptions import Assumptions
from verl_vaopd.planning.shapes import Shape

WIDTHS = {"fp32": 4, "float32": 4, "fp16": 2, "float16": 2, "bf16": 2, "bfloat16": 2}
"""Bytes of a number, by the names that verl and this project have for its format."""


@dataclass(frozen=True)
class Responses:
    """Lengths in tokens, and where they are from: `assumed`, `given` or `measured`."""

    mean: float
    longest: float
    source: str


@dataclass(frozen=True)
class Workload:
    """Counts of one job.

    Attributes:
        objective: what the method needs.
        ranks: data-parallel processes of the student; teacher_ranks: of the teacher.
        rollouts: of a step; validation_rollouts: of a batch of a validation.
        prompt_tokens: mean, images included; image_tokens: of these.
        patches: of a prompt's image.
        responses: their lengths.
        tokens_trained, tokens_scored: the most in a micro-batch of the student, of the teacher.
        steps: optimizer steps; num_rows: of the training set, None where steps are given; rows_source: of num_rows.
        validations, checkpoints: how many, in the whole run.
        validation_batches: of one validation.
    """

    objective: Objective
    ranks: int
    teacher_ranks: int
    rollouts: int
    validation_rollouts: int
    prompt_tokens: float
    image_tokens: float
    patches: float
    responses: Responses
    tokens_trained: int
    tokens_scored: int
    steps: int
    num_rows: int | None
    rows_source: str
    validations: int
    validation_batches: int
    checkpoints: int

    @property
    def tokens(self) -> float:
        """Of a mean rollout, prompt and response."""
        return self.prompt_tokens + self.responses.mean


def workload_of(cfg: DictConfig, student: Shape, assumed: Assumptions, responses: Responses | None) -> Workload:
    """The counts of a composed configuration.

    Args:
        responses: lengths that were given or measured; None: assumed ones.
    Raises:
        ValueError: the number of steps follows from data that are not here and not known.
    """
    data, rollout = cfg.data, cfg.actor_rollout_ref.rollout
    ranks = cfg.trainer.n_gpus_per_node * cfg.trainer.nnodes
    pool = cfg.teacher.placement == "pool"
    image_tokens = (cfg.dataset.min_pixels or 0) / student.vision.pixels_per_token
    limit = data.max_response_length
    if responses is None:
        responses = Responses(assumed.response_mean * limit, assumed.response_longest * limit, "assumed")
    steps, num_rows, source = _steps(cfg)
    questions = len(cfg.validation.splits) * cfg.validation.num_questions
    batch = min(cfg.validation.prompts_per_batch, questions)
    return Workload(
        objective=Objective.from_config(cfg),
        ranks=ranks,
        teacher_ranks=cfg.teacher.n_gpus * cfg.teacher.nnodes if pool else ranks,
        rollouts=data.train_batch_size * rollout.n,
        validation_rollouts=batch * cfg.validation.n,
        prompt_tokens=min(image_tokens + assumed.text_tokens, data.max_prompt_length),
        image_tokens=min(image_tokens, data.max_prompt_length),
        patches=image_tokens * student.vision.patches_per_token,
        responses=responses,
        tokens_trained=_tokens_trained(cfg, ranks),
        tokens_scored=_tokens_scored(cfg, ranks),
        steps=steps,
        num_rows=num_rows,
        rows_source=source,
        validations=_times(cfg, steps, cfg.trainer.test_freq) + bool(cfg.trainer.val_before_train),
        validation_batches=-(-questions // batch),
        checkpoints=_times(cfg, steps, cfg.trainer.save_freq) if cfg.trainer.save_freq > 0 else 0,
    )


def _tokens_trained(cfg: DictConfig, ranks: int) -> int:
    """In the largest micro-batch that the student can meet: the budget, or all rows of a rank."""
    actor, longest = cfg.actor_rollout_ref.actor, longest_rollout(cfg)
    rows = -(-cfg.data.train_batch_size * cfg.actor_rollout_ref.rollout.n // ranks)
    if not actor.use_dynamic_bsz:
        return min(rows, actor.ppo_micro_batch_size_per_gpu) * longest
    return min(rows * longest, actor.ppo_max_token_len_per_gpu)


def _tokens_scored(cfg: DictConfig, ranks: int) -> int:
    rows = -(-cfg.validation.prompts_per_batch * cfg.validation.n // ranks)
    rows = max(rows, -(-cfg.data.train_batch_size * cfg.actor_rollout_ref.rollout.n // ranks))
    return min(rows * longest_scored(cfg), cfg.teacher.max_tokens_per_gpu)


def _steps(cfg: DictConfig) -> tuple[int, int | None, str]:
    """Optimizer steps, and the rows that they follow from."""
    trainer = cfg.trainer
    if trainer.val_only:
        return 0, None, ""
    rows, source = _num_rows(cfg)
    asked = trainer.total_training_steps
    if rows is not None:
        available = rows // cfg.data.train_batch_size * trainer.total_epochs
        return available if asked is None else min(asked, available), rows, source
    if asked is None:
        raise ValueError(
            f"the number of steps is not known: got no {cfg.data.train_files} and no published number of rows of "
            f"{cfg.dataset.name}; expected the data, or trainer.total_training_steps=N"
        )
    return asked, None, ""


def _num_rows(cfg: DictConfig) -> tuple[int | None, str]:
    files = train_files(cfg)
    if any(is_made_here(cfg, file) for file in files):
        return cfg.dataset.num_train, "dataset.num_train"
    if files and all(Path(file).is_file() for file in files):
        from pyarrow import parquet

        return sum(parquet.read_metadata(file).num_rows for file in files), "counted"
    if cfg.dataset.name not in PREPARED:
        return None, ""
    return PREPARED[cfg.dataset.name]["train"].published["train"], "as published, not here"


def _times(cfg: DictConfig, steps: int, every: int) -> int:
    """How often something happens that is done every so many steps, and at the last."""
    if steps == 0:
        return 0
    return 1 if every < 1 else -(-steps // every)


def compute_width(cfg: DictConfig) -> int:
    """Bytes of a number in the student's passes: of FSDP's gathered weights and of activations."""
    key = "actor_rollout_ref.actor.fsdp_config.mixed_precision.param_dtype"
    return WIDTHS[OmegaConf.select(cfg, key, default="bf16")]
