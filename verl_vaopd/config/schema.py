"""Our own configuration keys, section by section. verl's keys are verl's; recipes/ hold differences.

What belongs to an algorithm, a weighting, a divergence or a corruption stands beside it (algorithms/, images.py); the
rest stands here. Every field says its default, range or choices, unit and meaning: types, checks and the tables of
docs/configuration.md are made from them. The numbers are the paper's (VA-OPD, arXiv:2605.21924) where it states one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import II, MISSING, BooleanNode

from verl_vaopd.alarms import AlarmOptions
from verl_vaopd.algorithms.divergences import DIVERGENCES
from verl_vaopd.algorithms.measuring import Measuring
from verl_vaopd.algorithms.options import Option, option, options_of
from verl_vaopd.algorithms.weightings import WEIGHTINGS
from verl_vaopd.config.data_schema import CollectConfig, DatasetConfig
from verl_vaopd.images import Corruption
from verl_vaopd.limited_process import Limits

SCHEMA_NAME = "vaopd_schema"


@dataclass
class RunConfig:
    """One training run and where it writes."""

    name: str | None = option(None, "Name of the run; chosen from method, models and data set when null.")
    root: str = option("runs", "Directory of all runs.")
    dir: str = option(MISSING, "Directory of this run; filled in by `vaopd train`.")
    seed: int = option(
        0, "Seeds the data's order, sampling and all chance; rollouts still depend on the order in vLLM.", at_least=0
    )
    max_dropped_frac: float = option(
        0.1, "A step or validation of which more rollouts fail than this share ends the run.", at_least=0, at_most=1
    )
    fresh: bool = option(False, "Start anew instead of resuming an interrupted run of the same configuration.")
    changed_data: bool = option(False, "Resume although the data files are not those that the run began with.")


@dataclass
class MethodConfig:
    """Which method trains."""

    name: str = option(MISSING, "Its recipe.")
    stored_responses: bool = option(
        False, "Train on the responses that `vaopd collect` has stored, instead of the student's own rollouts."
    )
    degraded_view: bool = option(
        II("vaopd_needs_visual_advantage:"),
        "Whether training scores the degraded view too: by default where token weights need it; true monitors VA.",
    )


@dataclass
class _Divergence:
    divergence: str | None = option(
        "reverse_kl",
        "From student to teacher, per token; null for a method without distillation.",
        choices=tuple(DIVERGENCES),
        nullable=True,
    )


_DivergenceOptions = make_dataclass(
    "_DivergenceOptions",
    {  # by name: all have the temperature
        each.name: (
            each.name,
            get_type_hints(divergence)[each.name],
            field(default=each.default, metadata=each.metadata),
        )
        for divergence in DIVERGENCES.values()
        for each in fields(divergence)
    }.values(),
)


@dataclass
class LossConfig(_DivergenceOptions, _Divergence):  # type: ignore[misc, valid-type]  # the options of every divergence
    """What the update minimises: sum of token_weights x divergence, plus reward_coef x verl's policy loss."""

    token_clip: float | None = option(
        None,
        "A token's divergence counts at most this many nats, without gradient above; null: no clipping.",
        unit="nats",
        above=0,
        example=1.0,
    )
    reward_coef: float = option(
        0.0,
        "Weight of verl's policy loss (`algorithm.adv_estimator`, `actor_rollout_ref.actor`) on verified answers.",
        at_least=0,
    )


@dataclass
class PapoConfig:
    """Perception terms of PAPO (arXiv:2507.06448), on top of verl's policy loss."""

    perception_coef: float = option(0.0, "Weight of the perception KL, which is maximised (gamma).", at_least=0)
    entropy_coef: float = option(
        0.0,
        "Weight of the negative log-probabilities on the clean and the masked image, which are minimised (eta).",
        at_least=0,
    )
    masked_gradient: bool = option(
        False, "Whether gradient flows through the masked view too; it does not in the public code."
    )
    min_accuracy: float | None = option(
        None,
        "Prompts whose rollouts' accuracy is not above it leave the update (DAPO's filter); null: none leaves.",
        at_least=0,
        at_most=1,
    )
    max_accuracy: float | None = option(
        None,
        "Prompts whose rollouts' accuracy is not below it leave the update; null: none leaves.",
        at_least=0,
        at_most=1,
    )
    view: Corruption = field(default_factory=lambda: Corruption(kind="patch_mask"))
    """The masked image, one per prompt and step."""


@dataclass
class PrivilegeConfig:
    """On-policy self-distillation: the teacher reads a reference solution that the student does not see."""

    reference: str | None = option(
        None, "Where a row has its reference solution: `reward_model.ground_truth` or `extra_info.NAME`; null: none."
    )
    template: str = option(
        "\n\nReference solution:\n{reference}\n\nSolve the problem in your own words.",
        "What is appended to the question that the teacher reads.",
    )


@dataclass
class StudentConfig:
    """The model that is trained."""

    name: str = option(MISSING, "Its recipe.")
    path: str = option(MISSING, "Hugging Face id or local directory.")


@dataclass
class TeacherConfig:
    """The frozen model that scores rollouts."""

    name: str = option(MISSING, "Its recipe.")
    path: str = option(MISSING, "Hugging Face id or local directory; its tokenizer must be the student's.")
    placement: str = option(
        "colocated",
        "`colocated`: on the student's GPUs. `pool`: on GPUs of its own.",
        choices=("colocated", "pool"),
    )
    n_gpus: int = option(0, "GPUs of the pool on each of its nodes; 0 without a pool.", at_least=0)
    nnodes: int = option(1, "Nodes of the pool.", at_least=1)
    strategy: str = option("fsdp2", "How the teacher is sharded; on a CPU fsdp2 only.", choices=("fsdp", "fsdp2"))
    dtype: str = option("bfloat16", "Number format of its weights.", choices=("bfloat16", "float16", "float32"))
    param_offload: bool = option(False, "Keep the teacher's weights in main memory between its passes.")
    max_tokens_per_gpu: int = option(16384, "Token budget of one scoring micro-batch.", unit="token", at_least=1)
    attn_implementation: str = option(
        "flash_attention_2", "transformers' name of its attention kernel; the group `attention` sets the student's too."
    )
    ema_decay: float | None = option(
        None,
        "The teacher follows the student as an exponential moving average with this decay per step; null: frozen.",
        above=0,
        below=1,
        example=0.999,
    )


@dataclass
class ValidationConfig:
    """Held-out accuracy and mean VA during training; the numbers are those of the paper's release."""

    n: int = option(8, "Samples per question.", at_least=1)
    temperature: float = option(1.0, "Of sampling; 0 is greedy.", at_least=0)
    top_p: float = option(1.0, "Of sampling.", above=0, at_most=1)
    num_questions: int = option(200, "Of each split: its first so many questions.", at_least=1)
    every: int = option(50, "Steps between two validations; the last step is always validated. -1: none but that.")
    before_train: bool = option(True, "Validate the student as it is, too.")
    splits: list[str] = option(["validation"], "Held-out files of the data set; checkpoints are selected on the first.")
    prompts_per_batch: int = option(
        II("vaopd_product:4,${data.train_batch_size}"),
        "Sampled and scored at a time, which bounds memory; the results are the same. By default 4 training batches.",
        at_least=1,
        example=64,
    )
    entropy: bool = option(False, "Also the student's entropy on its held-out answers: one more pass of the student.")
    patience: int | None = option(
        None,
        "Stop when accuracy has not risen for this many validations; null: train to the last step.",
        at_least=1,
    )


@dataclass
class CheckpointConfig:
    """Checkpoints. A validated step can become `best` only if it was saved."""

    every: int = option(50, "Steps between two checkpoints; the last step is always saved. -1: no checkpoints.")
    keep: int | None = option(
        2, "How many of the newest to keep, besides the best; null: all of them.", at_least=1, nullable=True
    )


@dataclass
class DumpConfig:
    """Token-level dumps, which every later analysis reads."""

    every: int = option(10, "Steps between two dumps; -1: none.")
    num_heldout_prompts: int = option(8, "Held-out questions whose tokens are dumped at every validation.", at_least=0)
    num_train_rollouts: int = option(
        16, "Training rollouts whose tokens are dumped, rounded up to whole prompts.", at_least=0
    )


@dataclass
class PreflightConfig:
    """Checks at the start of a run and while it runs (docs/user_guide.md, Preflight). They change no number of it."""

    waive: list[str] = option([], "Names of checks whose failure does not stop the run; it is recorded.")
    only: bool = option(False, "End after the checks at the start, before the first validation and step.")
    num_prompts: int = option(8, "Training prompts that the start is checked on, one response each.", at_least=1)
    warn_truncated_frac: float = option(
        0.2, "A larger share of responses cut by the length limit is warned of.", at_least=0, at_most=1
    )
    max_truncated_frac: float = option(
        0.5, "A larger share in the first training batch fails; at the start all of them.", at_least=0, at_most=1
    )
    max_log_prob_gap: float | None = option(
        None,
        "Between rollout engine and trainer, per token on average; null: a bound for the engine's dtype.",
        unit="nats",
        above=0,
        example=0.1,
    )


SECTIONS: dict[str, type] = {
    "run": RunConfig,
    "method": MethodConfig,
    "loss": LossConfig,
    "vaopd": Measuring,
    "view": Corruption,
    "papo": PapoConfig,
    "privilege": PrivilegeConfig,
    "student": StudentConfig,
    "teacher": TeacherConfig,
    "dataset": DatasetConfig,
    "verification": Limits,
    "validation": ValidationConfig,
    "checkpoint": CheckpointConfig,
    "dump": DumpConfig,
    "collect": CollectConfig,
    "preflight": PreflightConfig,
    "alarms": AlarmOptions,
}
"""`vaopd` is how visual advantage is measured, whatever the method does with it."""
WEIGHTING = "weighting"
"""The section that holds the options of the weighting that was chosen (a Hydra group of the same name)."""


def register_schema() -> None:
    """Make the schema known to Hydra under SCHEMA_NAME, and every weighting under its name."""
    store = ConfigStore.instance()
    # wandb: also log to Weights & Biases.
    store.store(name=SCHEMA_NAME, node={**SECTIONS, "wandb": BooleanNode(False)})
    for name, weighting in WEIGHTINGS.items():
        store.store(group=WEIGHTING, name=name, node=weighting)


def all_options(weighting: str) -> Iterator[tuple[str, Option, Any]]:
    """Dotted key, option and default of each of our keys that has one, under one weighting."""
    for section, cls in {**SECTIONS, WEIGHTING: WEIGHTINGS[weighting]}.items():
        for name, known, default in options_of(cls):
            yield f"{section}.{name}", known, default
