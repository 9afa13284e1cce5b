"""What the shipped models must be able to do, measured by greedy decoding through transformers.

Three views of the same problems: `clean`; `pixelated` (every side to a tenth and back), where nobody can read; `given`,
where the prompt states all lengths, so that nobody has to.
"""

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch

from verl_vaopd.answers.rewards import exact_match, well_formed
from verl_vaopd.data.tinygeo.dataset import Example
from verl_vaopd.data.tinygeo.fast_vision import image_grid, patchify
from verl_vaopd.data.tinygeo.models import IMAGE_TOKEN
from verl_vaopd.data.tinygeo.text_training import full_prompt, pixelated

View = Literal["clean", "pixelated", "given"]
MAX_NEW_TOKENS = 288
MIN_PROBLEMS = 512

# model -> view -> measure -> (lowest, highest) accepted
BOUNDS: dict[str, dict[str, dict[str, tuple[float, float]]]] = {
    "teacher": {"clean": {"accuracy": (0.90, 1.0)}, "pixelated": {"accuracy": (0.0, 0.15)}},
    "student": {
        "clean": {"accuracy": (0.20, 0.45), "well_formed": (0.95, 1.0)},
        "given": {"accuracy": (0.90, 1.0)},
    },
}


@dataclass(frozen=True)
class Measurement:
    """Shares of `n` problems; well-formed means exactly one box with content, and ended by the end token."""

    n: int
    accuracy: float
    well_formed: float
    mean_tokens: float
    accuracy_by_type: dict[str, float]


def measure(
    model: Any, tokenizer: Any, examples: list[Example], view: View, batch_size: int = 128
) -> tuple[Measurement, list[str]]:
    """Answer every example greedily; returns the measurement and the responses."""
    texts, ended, lengths = [], [], []
    for start in range(0, len(examples), batch_size):
        for ids in generate(model, tokenizer, examples[start : start + batch_size], view):
            ended.append(ids[-1] == tokenizer.eos_token_id)
            lengths.append(len(ids))
            texts.append(tokenizer.decode(ids, skip_special_tokens=True))
    right = [
        float(exact_match(text, str(example.question.answer))) for text, example in zip(texts, examples, strict=True)
    ]
    formed = [well_formed(text) and end for text, end in zip(texts, ended, strict=True)]
    of_type: dict[str, list[float]] = defaultdict(list)
    for value, example in zip(right, examples, strict=True):
        of_type[example.question.type].append(value)
    by_type = {type_: round(sum(values) / len(values), 4) for type_, values in sorted(of_type.items())}
    n = len(examples)
    return Measurement(n, sum(right) / n, sum(formed) / n, sum(lengths) / n, by_type), texts


@torch.no_grad()
def generate(
    model: Any, tokenizer: Any, examples: list[Example], view: View, temperature: float | None = None
) -> list[list[int]]:
    """Response ids of one batch, up to and including the end token; greedy without a temperature."""
    prompts = [example.prompt_with_lengths if view == "given" else example.prompt for example in examples]
    rows = tokenizer([full_prompt(prompt) for prompt in prompts]).input_ids
    width = max(map(len, rows))
    input_ids = torch.tensor([[tokenizer.pad_token_id] * (width - len(row)) + row for row in rows])
    attention_mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    images = np.stack([example.figure.image for example in examples])
    greedy = {"do_sample": False}
    sampled = {"do_sample": True, "temperature": temperature, "top_k": 0}
    output = model.generate(
        input_ids=input_ids,
        attention_mask=attention_mask,
        mm_token_type_ids=(input_ids == tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)).int(),
        pixel_values=patchify(pixelated(images) if view == "pixelated" else images),
        image_grid_thw=image_grid(len(examples)),
        max_new_tokens=MAX_NEW_TOKENS,
        **(greedy if temperature is None else sampled),
    )
    responses = output[:, width:].tolist()
    eos = tokenizer.eos_token_id
    return [row[: row.index(eos) + 1] if eos in row else row for row in responses]


def violations(model_name: str, measured: dict[str, dict[str, Any]]) -> list[str]:
    """What is missing for acceptance, in words; empty if the model is accepted.

    Args:
        measured: view -> Measurement as a dict.
    """
    problems = []
    for view, measures in BOUNDS[model_name].items():
        if measured[view]["n"] < MIN_PROBLEMS:
            problems.append(f"{model_name}, {view}: {measured[view]['n']} problems, at least {MIN_PROBLEMS} needed")
        for name, (low, high) in measures.items():
            value = measured[view][name]
            if not low <= value <= high:
                problems.append(f"{model_name}, {view}: {name} is {value:.3f}, expected {low} to {high}")
    return problems


def as_dict(measurement: Measurement) -> dict[str, Any]:
    """For the manifest: shares rounded to four places."""
    return {key: round(v, 4) if isinstance(v, float) else v for key, v in asdict(measurement).items()}
