"""Our own configuration keys: names, types, defaults and what they mean. The only home of their defaults.

verl's keys are verl's; what this project fixes in them is in vaopd.yaml, and recipes/ hold differences. The numbers are
the paper's (VA-OPD, arXiv:2605.21924) where it states one.
"""

from dataclasses import dataclass, field

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, BooleanNode

from verl_vaopd import images

SCHEMA_NAME = "vaopd_schema"
PLACEMENTS = ("colocated", "pool")
DTYPES = ("bfloat16", "float16", "float32")
EXACT_DIVERGENCES = ("reverse_kl", "forward_kl", "js")
ESTIMATORS = ("top_k", "k1", "k2")
"""Cheaper stand-ins for the reverse KL; docs/methods.md says whose gradient each of them has."""
DIVERGENCES = (*EXACT_DIVERGENCES, *ESTIMATORS, "nll")
HIGH_RULES = ("fraction", "mass", "threshold")
MASKS = ("high", "low", "random")
TINYGEO_SPLITS = ("train", "validation", "test", "test_unseen_pairs", "test_ood")
ADVANTAGES = ("sampled", "divergence_gap")


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
    stored_responses: bool = False
    """Train on the responses that `vaopd collect` has stored, instead of the student's own rollouts."""
    degraded_view: bool = True
    """Whether training scores the degraded view too; a method that does not need it can, to monitor VA."""


@dataclass
class LossConfig:
    """What the update minimises: sum of token_weights x divergence, plus reward_coef x verl's policy loss."""

    divergence: str | None = "reverse_kl"
    """From student to teacher, per token: one of DIVERGENCES, or null for a method without distillation."""
    js_beta: float = 0.5
    """Weight of the teacher in the mixture of `js` (GKD, arXiv:2306.13649)."""
    top_k: int = 32
    """Teacher's tokens that `top_k` tells apart; all others are one bucket."""
    token_clip: float | None = None
    """A token's divergence counts at most this many nats, without gradient above; null: no clipping."""
    reward_coef: float = 0.0
    """Weight of verl's policy loss (`algorithm.adv_estimator`, `actor_rollout_ref.actor`) on verified answers."""


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
    advantage: str = "sampled"
    """`sampled`: Eq. 2, of the sampled token. `divergence_gap`: of the whole distribution, the size of the gap between
    the KLs of the student to the teacher on either view, in which a misread digit counts; one more student pass."""
    high_rule: str = "fraction"
    """Who is in the high group: `fraction` (Eq. 5), `mass` or `threshold`; the two latter leave out ties at zero."""
    high_mass: float = 0.9
    """For high_rule=mass: the smallest set of tokens that holds this share of the rollout's VA."""
    high_threshold: float = 0.1
    """For high_rule=threshold: tokens whose VA exceeds this many nats."""
    rollout_shrinkage: float = 0.0
    """Nats, added to the siblings' standard deviation in Eq. 3, so that siblings that barely differ weigh alike."""
    mask: str | None = None
    """A control of Sec. 2.2: Standard OPD without the `high`, `low` or `random` tokens; null: no token is left out."""
    mask_frac: float = 0.1
    """Share of a rollout's tokens that `mask` leaves out."""


@dataclass
class ViewConfig:
    """A corrupted view of the images; each option belongs to the kinds that name it."""

    kind: str = "pixelate"
    """One of images.DEGRADATIONS."""
    ratio: float = images.PIXELATE_RATIO
    """pixelate: each side shrinks to this share before it is enlarged again (Sec. 2.1)."""
    radius: float = images.BLUR_RADIUS
    """blur: standard deviation of the Gaussian as a share of the longer side."""
    block: int = images.BLOCK
    """patch_mask, shuffle_patches: side of a block in pixels."""
    mask_prob: float = images.MASK_PROB
    """patch_mask: probability that a block is blackened."""


@dataclass
class PapoConfig:
    """Perception terms of PAPO (arXiv:2507.06448), on top of verl's policy loss."""

    perception_coef: float = 0.0
    """Weight of the perception KL, which is maximised (gamma)."""
    entropy_coef: float = 0.0
    """Weight of the negative log-probabilities on the clean and the masked image, which are minimised (eta)."""
    masked_gradient: bool = False
    """Whether gradient flows through the masked view too; it does not in the public code."""
    min_accuracy: float | None = None
    """Prompts whose rollouts' accuracy is not above it leave the update (DAPO's filter); null: none leaves."""
    max_accuracy: float | None = None
    """Prompts whose rollouts' accuracy is not below it leave the update; null: none leaves."""
    view: ViewConfig = field(default_factory=lambda: ViewConfig(kind="patch_mask"))
    """The masked image, one per prompt and step."""


@dataclass
class PrivilegeConfig:
    """On-policy self-distillation: the teacher reads a reference solution that the student does not see."""

    reference: str | None = None
    """Column of the data with the reference solution, such as `extra_info.response`; null: no privilege."""
    template: str = "\n\nReference solution:\n{reference}\n\nSolve the problem in your own words."
    """What is appended to the question that the teacher reads."""


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
    ema_decay: float | None = None
    """The teacher follows the student as an exponential moving average with this decay per step; null: frozen."""


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
    solution: str = "reward_model.ground_truth"
    """Column with the best solution that the data have, for methods that show it to a teacher."""
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
    splits: list[str] = field(default_factory=lambda: ["validation"])
    """Held-out files of the data set; checkpoints are selected on the first."""
    entropy: bool = False
    """Also the student's entropy on its held-out answers: one more pass of the student."""
    patience: int | None = None
    """Stop when accuracy has not risen for this many validations; null: train to the last step."""


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


@dataclass
class CollectConfig:
    """Responses of the teacher, verified and stored by `vaopd collect`."""

    path: str = "${dataset.root}-responses-${teacher.name}"
    """Directory; beside the data set, whose own is written anew whenever its options change."""
    n: int = 8
    """Samples per prompt."""
    keep: int = 4
    """At most so many of them are kept."""
    temperature: float = 0.7
    top_p: float = 0.95
    prompts_per_part: int = 256
    """Prompts per file; an interrupted collection continues after the last whole one."""


SECTIONS = {
    "run": RunConfig,
    "method": MethodConfig,
    "loss": LossConfig,
    "vaopd": VaopdConfig,
    "view": ViewConfig,
    "papo": PapoConfig,
    "privilege": PrivilegeConfig,
    "student": StudentConfig,
    "teacher": TeacherConfig,
    "dataset": DatasetConfig,
    "validation": ValidationConfig,
    "checkpoint": CheckpointConfig,
    "dump": DumpConfig,
    "collect": CollectConfig,
}


def register_schema() -> None:
    """Make the schema known to Hydra under SCHEMA_NAME."""
    # wandb: also log to Weights & Biases.
    ConfigStore.instance().store(name=SCHEMA_NAME, node={**SECTIONS, "wandb": BooleanNode(False)})
