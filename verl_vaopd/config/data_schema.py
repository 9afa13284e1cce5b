"""Our configuration keys of the data: prompts, and the teacher's stored responses to them. schema.py has the others."""

from dataclasses import dataclass

from omegaconf import MISSING

from verl_vaopd.algorithms.options import option
from verl_vaopd.data.files import DATASETS


@dataclass
class DatasetConfig:
    """Where the data are, how they are read and, if code makes them, how they are made."""

    name: str = option(MISSING, "Its recipe.")
    root: str = option(f"{DATASETS}/${{dataset.name}}", "Directory with train.parquet and validation.parquet.")
    prompt_suffix: str = option(
        " Please reason step by step, and put your final answer within \\boxed{}.",
        "Appended to each question that does not end in it. The paper does not print its prompt; this is the one of "
        "Qwen's model cards.",
    )
    solution: str = option(
        "reward_model.ground_truth",
        "Column with the best solution that the data have, for methods that show it to a teacher.",
    )
    min_pixels: int | None = option(
        262_144,
        "Smaller images are enlarged to about this many pixels; null: as the model's processor has it. The release's "
        "value: 256 tokens.",
        unit="pixel",
        at_least=1,
        nullable=True,
    )
    max_pixels: int | None = option(
        4_194_304,
        "Larger images are reduced to about this many pixels; null: as the model's processor has it. The release's "
        "value: 4096 tokens.",
        unit="pixel",
        at_least=1,
        nullable=True,
    )
    overlong: str = option(
        "error",
        "Rows whose prompt has more than data.max_prompt_length tokens: `error` ends the command before the start, "
        "`drop` leaves them out of the run, counts them and lists them in its left_out_rows.json. None is ever cut.",
        choices=("error", "drop"),
    )
    seed: int = option(
        0,
        "Seed of generated data, and of the held-out problems that `vaopd prepare` draws; not run.seed, so that runs "
        "that differ in their seed see the same questions.",
    )
    num_train: int | None = option(None, "Rows of this split of generated data; null: all there are.", at_least=1)
    num_validation: int | None = option(None, "The same of the validation split.", at_least=1)
    num_test: int | None = option(None, "The same of each test split.", at_least=1)


@dataclass
class CollectConfig:
    """Responses of the teacher, verified and stored by `vaopd collect`."""

    path: str = option(
        "${dataset.root}-responses-${teacher.name}",
        "Directory; beside the data set, whose own is written anew whenever its options change.",
    )
    n: int = option(8, "Samples per prompt.", at_least=1)
    keep: int = option(4, "At most so many of them are kept.", at_least=1)
    temperature: float = option(0.7, "Of sampling.", at_least=0)
    top_p: float = option(0.95, "Of sampling.", above=0, at_most=1)
    prompts_per_part: int = option(
        256, "Prompts per file; an interrupted collection continues after the last whole one.", at_least=1
    )
