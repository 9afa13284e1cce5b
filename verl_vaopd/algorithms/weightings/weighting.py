"""What a weighting is, and what it is made from.

Axes: N rollouts of all prompts, T tokens, B prompts.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Measured:
    """The rollouts of one step, whole sibling groups.

    Attributes:
        response_mask: [N, T] bool or 0/1.
        uid: N values, one per prompt; siblings share it.
        visual_advantage: [N, T] float nats, >= 0; None unless it was measured.
        high_group: [N, T] bool, the tokens high in it; None unless it was measured.
        generator: of what a weighting draws at random.
    """

    response_mask: torch.Tensor
    uid: Sequence[Hashable] | torch.Tensor
    visual_advantage: torch.Tensor | None = None
    high_group: torch.Tensor | None = None
    generator: torch.Generator | None = None


@dataclass
class Weighting:
    """Base of all weightings: a dataclass whose fields are its options. Equal instances give equal weights."""

    name: str = ""
    """Its word in the configuration; a subclass gives it as the field's default."""

    @property
    def needs_visual_advantage(self) -> bool:
        """Whether `Measured.visual_advantage` and `high_group` must be there, with these options."""
        return False

    def token_weights(self, rollouts: Measured) -> torch.Tensor:
        """[N, T] float32, >= 0: 0 where masked, sums to 1/B per uid. No gradient.

        Raises:
            ValueError: an option out of range, unequal shapes, an empty response, NaN or infinity at a valid token.
        """
        raise NotImplementedError
