"""Options of visual_advantage and high_groups: how visual advantage is measured, and what siblings weigh by it.

A method that does not weigh tokens by visual advantage can measure it too.
"""

from __future__ import annotations

from dataclasses import dataclass

from verl_vaopd.algorithms.options import option


@dataclass
class HighGroup:
    """Which tokens of a rollout count as high in visual advantage (VA); see high_groups.high_group."""

    high_frac: float = option(
        0.2, "Share of a rollout's tokens in its high-VA group (Sec. 4.1, p_v).", above=0, at_most=1
    )
    high_rule: str = option(
        "fraction",
        "Who is in the high group: `fraction` (Eq. 5), `mass` or `threshold`; the two latter leave out ties at zero.",
        choices=("fraction", "mass", "threshold"),
    )
    high_mass: float = option(
        0.9,
        "For high_rule=mass: the smallest set of tokens that holds this share of the rollout's VA.",
        above=0,
        at_most=1,
    )
    high_threshold: float = option(
        0.1, "For high_rule=threshold: tokens whose VA exceeds this many nats.", unit="nats", at_least=0
    )


@dataclass
class Measuring(HighGroup):
    """What visual advantage is, and which tokens are high in it."""

    advantage: str = option(
        "sampled",
        "`sampled`: Eq. 2, of the sampled token. `divergence_gap`: of the whole distribution, the size of the gap "
        "between the KLs of the student to the teacher on either view, in which a misread digit counts; one more "
        "student pass.",
        choices=("sampled", "divergence_gap"),
    )


@dataclass
class SiblingSoftmax:
    """How the siblings of a prompt weigh by their mean VA; see visual_advantage.rollout_weights."""

    temperature: float = option(1.0, "Of the softmax over siblings (Sec. 4.1, tau).", above=0)
    eps: float = option(
        1e-6, "Added to the siblings' standard deviation (Eq. 3; the value is the public release's).", above=0
    )
    rollout_shrinkage: float = option(
        0.0,
        "Nats, added to the siblings' standard deviation in Eq. 3, so that siblings that barely differ weigh alike.",
        unit="nats",
        at_least=0,
    )
