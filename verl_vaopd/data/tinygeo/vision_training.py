"""First stage: the vision tower learns to see digits, under a head that is thrown away.

Every visual token covers 16 x 16 pixels. It predicts the tens digit whose centre lies there (or none) and the side it
belongs to, and likewise for a ones digit; all tokens together predict kind, colour and outline. So each label digit can
be found and read out by one linear step each, which is what the text model's attention does; when the tokens predicted
the contents of their left and right halves instead, reading took several times as long to learn.
The head reads the merged output and every deepstack output, so each path into the text model carries what is seen.
Without this stage the models stay at chance: reading two digits is too long a detour for a response loss alone.
"""

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from verl_vaopd.data.tinygeo.dataset import sample_figure
from verl_vaopd.data.tinygeo.fast_vision import visual_features
from verl_vaopd.data.tinygeo.figures import (
    COLORS,
    IMAGE_SIZE,
    KINDS,
    LINES,
    MAX_SIDES,
    Figure,
    Glyph,
    draw_scattered_labels,
)
from verl_vaopd.data.tinygeo.models import MERGE_SIZE, PATCH_SIZE

CELL = PATCH_SIZE * MERGE_SIZE
CELLS = IMAGE_SIZE // CELL
NO_DIGIT, NO_SIDE, IGNORED = 10, MAX_SIDES, -100
GLOBAL_CLASSES = (len(KINDS), len(COLORS), len(LINES))


@dataclass(frozen=True)
class VisionRecipe:
    """Sizes and lengths of the stage; it ends early at `target_digit_accuracy` on held-out figures."""

    steps: int
    num_images: int
    batch_size: int = 64
    learning_rate: float = 1e-3
    warmup_steps: int = 50
    scattered_frac: float = 0.4
    eval_every: int = 50
    eval_images: int = 128
    target_digit_accuracy: float = 2.0  # above 1: never


@dataclass(frozen=True)
class VisionData:
    """images [N, 96, 96, 3] uint8; digits, sides [N, 36, 2] and properties [N, 3] int64, IGNORED where scattered."""

    images: np.ndarray
    digits: torch.Tensor
    sides: torch.Tensor
    properties: torch.Tensor


def learning_rate(peak: float, step: int, steps: int, warmup_steps: int, constant_frac: float = 0.0) -> float:
    """The rate at `step` (1 ... steps): linear warm-up, constant for a share of the steps, then a cosine to 4 %."""
    progress = max(0.0, step / steps - constant_frac) / (1 - constant_frac)
    decay = 0.04 + 0.96 * 0.5 * (1 + math.cos(math.pi * progress))
    return peak * min(1.0, step / warmup_steps) * decay


def make_vision_data(rng: random.Random, split: str, num_images: int, scattered_frac: float) -> VisionData:
    """Figures of a split, a share of the images replaced by scattered labels, with what every cell shows."""
    images, digits, sides, properties = [], [], [], []
    for _ in range(num_images):
        if rng.random() < scattered_frac:
            image, glyphs = draw_scattered_labels(rng)
            side = np.full((CELLS * CELLS, 2), IGNORED)
            properties.append([IGNORED] * 3)
        else:
            figure, _ = sample_figure(rng, split)
            image, glyphs = figure.image, figure.glyphs
            side = _cells(glyphs, lambda glyph: glyph.side, NO_SIDE)
            properties.append(_properties(figure))
        images.append(image)
        digits.append(_cells(glyphs, lambda glyph: glyph.digit, NO_DIGIT))
        sides.append(side)
    tensors = (torch.from_numpy(np.stack(x)).long() for x in (digits, sides, properties))
    return VisionData(np.stack(images), *tensors)


def _cells(glyphs: tuple[Glyph, ...], value: Callable[[Glyph], int], empty: int) -> np.ndarray:
    """[36, 2]: for each visual token's cell, the value of the tens and of the ones glyph whose centre lies there."""
    grid = np.full((CELLS, CELLS, 2), empty)
    for glyph in glyphs:
        grid[int(glyph.y // CELL), int(glyph.x // CELL), glyph.place] = value(glyph)
    return grid.reshape(CELLS * CELLS, 2)


def _properties(figure: Figure) -> list[int]:
    return [KINDS.index(figure.kind), tuple(COLORS).index(figure.color), tuple(LINES).index(figure.line)]


class VisionHead(nn.Module):
    """Linear readout of one level of visual features."""

    def __init__(self, hidden: int):
        super().__init__()
        self.digits = nn.Linear(hidden, 2 * (NO_DIGIT + 1))
        self.sides = nn.Linear(hidden, 2 * (NO_SIDE + 1))
        self.properties = nn.Linear(hidden, sum(GLOBAL_CLASSES))

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, ...]]:
        """[B, 36, d] -> digits [B, 36, 2, 11], sides [B, 36, 2, 7], one [B, classes] per property; float32."""
        batch, cells, _ = features.shape
        digits = self.digits(features).float().view(batch, cells, 2, -1)
        sides = self.sides(features).float().view(batch, cells, 2, -1)
        return digits, sides, self.properties(features.mean(1)).float().split(GLOBAL_CLASSES, -1)


def vision_loss(head: VisionHead, features: torch.Tensor, data: VisionData, rows: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of one level's readout; features [B, 36, d] belong to data[rows]."""
    digits, sides, properties = head(features)
    digit_weight = torch.tensor([1.0] * 10 + [0.3])
    side_weight = torch.tensor([1.0] * NO_SIDE + [0.2])
    loss = F.cross_entropy(digits.flatten(0, 2), data.digits[rows].flatten(), weight=digit_weight)
    loss = loss + 0.5 * F.cross_entropy(
        sides.flatten(0, 2), data.sides[rows].flatten(), weight=side_weight, ignore_index=IGNORED
    )
    for k, logits in enumerate(properties):
        loss = loss + 0.1 * F.cross_entropy(logits, data.properties[rows, k], ignore_index=IGNORED)
    return loss


@torch.no_grad()
def digit_accuracy(model: nn.Module, heads: nn.ModuleList, data: VisionData) -> tuple[float, float]:
    """Share of drawn digits recognised, and of their sides, by the merged output; on figures only."""
    model.eval()
    digits, sides, _ = heads[0](visual_features(model, data.images)[0])
    drawn = data.digits < NO_DIGIT
    right = [(logits.argmax(-1) == target)[drawn] for logits, target in ((digits, data.digits), (sides, data.sides))]
    model.train()
    return right[0].float().mean().item(), right[1].float().mean().item()


def train_vision(model: nn.Module, recipe: VisionRecipe, seed: int, log: Callable[[str], None]) -> float:
    """Train the vision tower in place; returns the last digit accuracy on held-out figures."""
    rng = random.Random(f"vision {seed}")
    data = make_vision_data(rng, "train", recipe.num_images, recipe.scattered_frac)
    held_out = make_vision_data(rng, "validation", recipe.eval_images, 0.0)
    tower = model.model.visual
    torch.manual_seed(seed)
    heads = nn.ModuleList(VisionHead(tower.config.out_hidden_size) for _ in range(1 + len(tower.deepstack_merger_list)))
    parameters = [*tower.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    generator, accuracy, started = torch.Generator().manual_seed(seed), 0.0, time.process_time()
    for step in range(1, recipe.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe.learning_rate, step, recipe.steps, recipe.warmup_steps)
        rows = torch.randint(recipe.num_images, (recipe.batch_size,), generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            levels = visual_features(model, data.images[rows.numpy()])
            losses = [vision_loss(head, level, data, rows) for head, level in zip(heads, levels, strict=True)]
        loss = torch.stack(losses).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % recipe.eval_every == 0 or step == recipe.steps:
            accuracy, side_accuracy = digit_accuracy(model, heads, held_out)
            log(
                f"vision step {step}/{recipe.steps} loss {loss.item():.3f} digits {accuracy:.3f} "
                f"sides {side_accuracy:.3f} cpu {time.process_time() - started:.0f} s"
            )
            if accuracy >= recipe.target_digit_accuracy:
                break
    return accuracy
