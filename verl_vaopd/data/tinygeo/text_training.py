"""Second stage: the text model learns to read, reason and word; the vision tower is frozen, its outputs cached.

Exercises go from short to long, because a step costs what its tokens cost: `read` names every label; `drill` answers
briefly from lengths given in the prompt, without an image; `brief` answers briefly from the image; `response` and
`given` are the real thing, a reference response from the image or from lengths in the prompt. `given` and `drill` make
the arithmetic solid whatever the vision tower sees. A share of the images is pixelated, so that the teacher knows what
it does not know: its log-probabilities without the digits are what visual advantage compares against.

Axes: B examples, T tokens of prompt and response, V vocabulary, L levels, I visual tokens, d hidden.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from verl_vaopd.data.tinygeo import questions
from verl_vaopd.data.tinygeo.dataset import sample_figure
from verl_vaopd.data.tinygeo.fast_vision import cached_features, text_hidden_states
from verl_vaopd.data.tinygeo.figures import KINDS, Figure, side_names
from verl_vaopd.data.tinygeo.models import IMAGE_TOKEN, NUM_VISUAL_TOKENS, VISION_END, VISION_START
from verl_vaopd.data.tinygeo.vision_training import learning_rate
from verl_vaopd.images import pixelate

IGNORED = -100


@dataclass(frozen=True)
class TextStage:
    """`steps` optimizer steps; every batch is of one kind, drawn with the given weights."""

    steps: int
    mixture: dict[str, float]


@dataclass(frozen=True)
class TextRecipe:
    """What is practised, in order; the learning rate stays constant for most of it."""

    stages: tuple[TextStage, ...]
    num_figures: int
    pixelated_frac: float
    learning_rate: float = 2e-3
    warmup_steps: int = 50
    batch_size: int = 32
    word_weight: float = 0.4  # loss weight of tokens that are no digits and no names of sides; wording is easy
    eval_every: int = 100
    schedule_steps: int | None = None
    """Steps the learning rate's schedule is made for; null: those of the stages. Longer, it ends before the decay."""


@dataclass(frozen=True)
class Batch:
    """input_ids, labels (next token, IGNORED outside responses) and weights, each [B, T]; rows: which figures, [B]."""

    input_ids: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    rows: torch.Tensor


class Exercises:
    """Draws batches of exercises about a fixed pool of figures."""

    def __init__(self, figures: list[Figure], tokenizer: Any, seed: int, word_weight: float):
        self.figures, self.tokenizer, self.word_weight = figures, tokenizer, word_weight
        self.rng = random.Random(f"exercises {seed}")
        self.digit_ids = _token_ids(tokenizer, [str(digit) for digit in range(10)])
        names = {side for kind in KINDS for side in side_names(kind)}
        self.content_ids = torch.cat([self.digit_ids, _token_ids(tokenizer, sorted(names))])

    def texts(self, kind: str, figure: Figure) -> tuple[str, str]:
        """Prompt and response of one exercise."""
        if kind == "read":
            return full_prompt(questions.READ_PROMPT), questions.read_response(self.rng, figure)
        question = questions.ask_any(self.rng, figure)
        if kind == "drill":
            prompt = f"{questions.given_lengths(self.rng, figure)} {question.text}"
            return full_prompt(prompt, with_image=False), questions.brief_response(self.rng, figure, question)
        if kind == "brief":
            return full_prompt(question.text), questions.brief_response(self.rng, figure, question)
        response = questions.respond(self.rng, figure, question).text
        if kind == "given":
            return full_prompt(questions.prompt_text_with_lengths(self.rng, figure, question)), response
        return full_prompt(questions.prompt_text(question)), response

    def batches(self, kind: str, batch_size: int, group: int = 8) -> Iterator[Batch]:
        """Endless batches; examples of similar length share one, which saves a fifth of the padding."""
        while True:
            rows = [self.rng.randrange(len(self.figures)) for _ in range(group * batch_size)]
            texts = [self.texts(kind, self.figures[row]) for row in rows]
            prompts = self.tokenizer([prompt for prompt, _ in texts]).input_ids
            responses = self.tokenizer([response for _, response in texts]).input_ids
            order = sorted(range(len(rows)), key=lambda k: len(prompts[k]) + len(responses[k]))
            starts = list(range(0, len(order), batch_size))
            self.rng.shuffle(starts)
            for start in starts:
                chosen = order[start : start + batch_size]
                yield self._collate([(self._shown(kind, rows[k]), prompts[k], responses[k]) for k in chosen])

    def _shown(self, kind: str, row: int) -> int:
        """The figure on the image. Of `given` lengths it shows another one's: the prompt must do, whatever is seen."""
        return self.rng.randrange(len(self.figures)) if kind == "given" else row

    def _collate(self, examples: list[tuple[int, list[int], list[int]]]) -> Batch:
        length = max(len(prompt) + len(response) for _, prompt, response in examples)
        input_ids = torch.full((len(examples), length), self.tokenizer.pad_token_id)
        labels = torch.full((len(examples), length), IGNORED)
        for k, (_, prompt, response) in enumerate(examples):
            end = len(prompt) + len(response)
            input_ids[k, :end] = torch.tensor(prompt + response)
            labels[k, len(prompt) - 1 : end] = torch.tensor([*response, self.tokenizer.eos_token_id])
        weights = torch.where(torch.isin(labels, self.content_ids), 1.0, self.word_weight)
        return Batch(input_ids, labels, weights, torch.tensor([row for row, _, _ in examples]))


def _token_ids(tokenizer: Any, words: list[str]) -> torch.Tensor:
    """Ids of all tokens that are one of the words, with or without a space before it."""
    pieces = (piece for word in words for piece in (word, " " + word))
    found = (tokenizer(piece).input_ids for piece in pieces)
    return torch.tensor([ids[0] for ids in found if len(ids) == 1])


def full_prompt(text: str, with_image: bool = True) -> str:
    """What the chat template and the processor make of a user turn with one tinygeo image."""
    image = VISION_START + IMAGE_TOKEN * NUM_VISUAL_TOKENS + VISION_END if with_image else ""
    return f"<|im_start|>user\n{image}{text}<|im_end|>\n<|im_start|>assistant\n"


def pixelated(images: np.ndarray) -> np.ndarray:
    """The degraded views of images [B, 96, 96, 3] uint8."""
    return np.stack([np.asarray(pixelate(Image.fromarray(image))) for image in images])


def response_logits(
    model: torch.nn.Module, batch: Batch, features: torch.Tensor | None, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [N, V] float32 at the N places that predict a response token, and which places [B, T] those are."""
    hidden = text_hidden_states(model, batch.input_ids, features, dtype)
    places = batch.labels != IGNORED
    return F.linear(hidden[places], model.lm_head.weight.to(dtype)).float(), places


@torch.no_grad()
def digit_accuracy(
    model: torch.nn.Module, tokenizer: Any, figures: list[Figure], features: torch.Tensor, kinds: Iterable[str]
) -> dict[str, float]:
    """Teacher-forced share of right digits per kind of exercise."""
    exercises, result = Exercises(figures, tokenizer, 0, 1.0), {}
    model.eval()
    for kind in kinds:
        batch = next(exercises.batches(kind, len(figures), group=1))
        logits, places = response_logits(model, batch, None if kind == "drill" else features[:, batch.rows])
        target = batch.labels[places]
        digits = torch.isin(target, exercises.digit_ids)
        result[kind] = (logits.argmax(-1) == target)[digits].float().mean().item()
    model.train()
    return result


class FeaturePool:
    """Cached features of the training figures; a share of them also pixelated."""

    def __init__(self, model: torch.nn.Module, figures: list[Figure], pixelated_frac: float, seed: int):
        images = np.stack([figure.image for figure in figures])
        self.clean = cached_features(model, images)
        # half of the uses of a figure with a degraded twin take the twin
        self.num_pixelated = int(2 * pixelated_frac * len(figures))
        self.degraded = cached_features(model, pixelated(images[: self.num_pixelated])) if self.num_pixelated else None
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        features = self.clean[:, rows]
        if self.degraded is not None:
            swap = (torch.rand(len(rows), generator=self.generator) < 0.5) & (rows < self.num_pixelated)
            features[:, swap] = self.degraded[:, rows[swap]]
        return features


def train_text(
    model: torch.nn.Module, tokenizer: Any, recipe: TextRecipe, seed: int, log: Callable[[str], None]
) -> None:
    """Train everything but the vision tower in place."""
    rng, started = random.Random(f"text {seed}"), time.process_time()
    figures = [sample_figure(rng, "train")[0] for _ in range(recipe.num_figures)]
    pool = FeaturePool(model, figures, recipe.pixelated_frac, seed)
    held_out = [sample_figure(rng, "validation")[0] for _ in range(96)]
    held_out_features = cached_features(model, np.stack([figure.image for figure in held_out])).float()
    parameters = [parameter for name, parameter in model.named_parameters() if "visual" not in name]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    exercises = Exercises(figures, tokenizer, seed, recipe.word_weight)
    kinds = sorted({kind for stage in recipe.stages for kind in stage.mixture})
    streams = {kind: exercises.batches(kind, recipe.batch_size) for kind in kinds}
    schedule = [stage for stage in recipe.stages for _ in range(stage.steps)]
    log(f"text: {len(figures)} figures seen by the frozen vision tower, cpu {time.process_time() - started:.0f} s")
    for step, stage in enumerate(schedule, start=1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(
                recipe.learning_rate,
                step,
                recipe.schedule_steps or len(schedule),
                recipe.warmup_steps,
                constant_frac=0.6,
            )
        kind = rng.choices(list(stage.mixture), list(stage.mixture.values()))[0]
        batch = next(streams[kind])
        features = None if kind == "drill" else pool(batch.rows)
        logits, places = response_logits(model, batch, features, torch.bfloat16)
        weights = batch.weights[places]
        losses = F.cross_entropy(logits, batch.labels[places], reduction="none")
        loss = (losses * weights).sum() / weights.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % recipe.eval_every == 0 or step == len(schedule):
            accuracy = digit_accuracy(model, tokenizer, held_out, held_out_features, stage.mixture)
            shown = " ".join(f"{name} {value:.3f}" for name, value in accuracy.items())
            seconds = time.process_time() - started
            log(f"text step {step}/{len(schedule)} loss {loss.item():.3f} digits right: {shown} cpu {seconds:.0f} s")
    model.eval()
