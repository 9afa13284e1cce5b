"""Our own configuration keys: names, types, defaults and what they mean. The only home of their defaults.

verl's keys are verl's; what this project fixes in them is in vaopd.yaml, and recipes/ hold differences. The numbers are
the paper's (VA-OPD, arXiv:2605.21924) where it states one.
"""

from dataclasses import dataclass

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, BooleanNode

SCHEMA_NAME = "vaopd_schema"
PLACEMENTS = ("colocated", "pool")
DTYPES = ("bfloat16", "float16", "float32")
VIEW_KINDS = ("pixelate",)


@dataclass
class RunConfig:
    """One training run and where it writes."""

    name: str | None = None
    """Name of the run; chosen from method, models and data set when null."""
    root: str = "runs"
    """Directory of all runs."""
    dir: str = MISSING
    """Directory of this run; filled in by `vaopd train`."""
    seed: int = 0
    """Seeds the order of the data, sampling, and everything made at random."""
    fresh: bool = False
    """Start anew instead of resuming an interrupted run of the same configuration."""


@dataclass
class MethodConfig:
    """Which method trains."""

    name: str = MISSING
    degraded_view: bool = True
    """Whether training scores the degraded view too; a method that does not need it can, to monitor VA."""


@dataclass
class VaopdConfig:
    """Token weights, Eq. 3-6."""

    high_frac: float = 0.2
    """Share of a rollout's tokens in its high-VA group (Sec. 4.1, p_v)."""
    high_coef: float = 0.5
    """Weight of the high-VA group (Sec. 4.1, lambda)."""
    temperature: float = 1.0
    """Of the softmax over siblings (Sec. 4.1, tau)."""
    eps: float = 1e-6
    """Added to the siblings' standard deviation (Eq. 3; the value is the public release's)."""
    rollout_weighting: bool = True
    """Eq. 3-4; off: siblings weigh the same."""
    token_grouping: bool = True
    """Eq. 5; off: tokens of a rollout weigh the same."""


@dataclass
class ViewConfig:
    """The degraded view (Sec. 2.1)."""

    kind: str = "pixelate"
    ratio: float = 0.1
    """Each side shrinks to this share before it is enlarged again."""


@dataclass
class StudentConfig:
    """The model that is trained."""

    name: str = MISSING
    path: str = MISSING
    """Hugging Face id or local directory."""


@dataclass
class TeacherConfig:
    """The frozen model that scores rollouts."""

    name: str = MISSING
    path: str = MISSING
    """Hugging Face id or local directory; its tokenizer must be the student's."""
    placement: str = "colocated"
    """`colocated`: on the student's GPUs. `pool`: on GPUs of its own."""
    n_gpus: int = 0
    """GPUs of the pool on each of its nodes; 0 without a pool."""
    nnodes: int = 1
    """Nodes of the pool."""
    strategy: str = "fsdp2"
    dtype: str = "bfloat16"
    param_offload: bool = False
    """Keep the teacher's weights in main memory between its passes."""
    max_tokens_per_gpu: int = 16384
    """Token budget of one scoring micro-batch."""
    attn_implementation: str = "flash_attention_2"


@dataclass
class DatasetConfig:
    """Where the data are and how they were made. Options apply when the data set is prepared."""

    name: str = MISSING
    root: str = "datasets/${dataset.name}"
    """Directory with train.parquet and validation.parquet."""
    source: str | None = None
    """Hugging Face id of the original; null for data made by code."""
    prompt_suffix: str = " Please reason step by step, and put your final answer within \\boxed{}."
    """Appended to each question. The paper does not print its prompt; this is the one of Qwen's model cards."""
    min_pixels: int | None = 262_144
    """Smaller images are enlarged to about this many pixels; null: left alone. The release's value: 256 tokens."""
    max_pixels: int | None = 4_194_304
    """Larger images are reduced to about this many pixels; null: left alone. The release's value: 4096 tokens."""
    seed: int = 0
    """Seed of generated data; not run.seed, so that runs that differ in their seed see the same questions."""
    num_train: int | None = None
    """Rows of each split of generated data; null: all there are."""
    num_validation: int | None = None
    num_test: int | None = None


@dataclass
class ValidationConfig:
    """Held-out accuracy and mean VA during training; the numbers are those of the paper's release."""

    n: int = 8
    """Samples per question."""
    temperature: float = 1.0
    top_p: float = 1.0
    num_questions: int = 200
    every: int = 50
    """Steps between two validations; the last step is always validated."""
    before_train: bool = True


@dataclass
class CheckpointConfig:
    """Checkpoints. A validated step can become `best` only if it was saved."""

    every: int = 50
    """Steps between two checkpoints; the last step is always saved."""
    keep: int | None = None
    """How many of the latest to keep; null: all."""


@dataclass
class DumpConfig:
    """Token-level dumps, which every later analysis reads."""

    every: int = 10
    """Steps between two dumps."""
    num_heldout_prompts: int = 8
    num_train_rollouts: int = 16


SECTIONS = {
    "run": RunConfig,
    "method": MethodConfig,
    "vaopd": VaopdConfig,
    "view": ViewConfig,
    "student": StudentConfig,
    "teacher": TeacherConfig,
    "dataset": DatasetConfig,
    "validation": ValidationConfig,
    "checkpoint": CheckpointConfig,
    "dump": DumpConfig,
}


def register_schema() -> None:
    """Make the schema known to Hydra under SCHEMA_NAME."""
    # wandb: also log to Weights & Biases.
    ConfigStore.instance().store(name=SCHEMA_NAME, node={**SECTIONS, "wandb": BooleanNode(False)})
