"""Every number that is known of a response token: metrics are made from them, and token dumps hold them.

The only list of them: the columns of token_dump.SCHEMA and a part of docs/metrics.md come from it. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class PerToken:
    """One value per response token.

    Attributes:
        unit: empty for what has none.
        when: which rollouts have it.
        dumped: a column of the token dumps.
    """

    dtype: str
    unit: str
    meaning: str
    when: str
    dumped: bool = True

    @property
    def text(self) -> str:
        """Meaning and unit, as files and pages show them."""
        return f"{self.meaning} [{self.unit}]" if self.unit else self.meaning


_SCORED = "where the teacher has scored"
_MEASURED = "where visual advantage is measured"
_GAP = "for `divergence_gap`"

PER_TOKEN: dict[str, PerToken] = {
    "visual_advantage": PerToken("float32", "nats", "visual advantage", _MEASURED),
    "teacher_log_probs": PerToken("float32", "nats", "by the teacher, clean image", _SCORED),
    "degraded_teacher_log_probs": PerToken("float32", "nats", "degraded image", "for `sampled` visual advantage"),
    "reverse_kl": PerToken("float32", "nats", "KL(student || teacher), clean image", _SCORED),
    "token_weights": PerToken("float32", "1", "weight of the token in the step's loss", "with distillation"),
    "high_group": PerToken("bool", "", "token is in the high visual advantage group", _MEASURED),
    "student_entropy": PerToken("float32", "nats", "at temperature 1", "always"),
    "teacher_entropy": PerToken("float32", "nats", "at temperature 1, clean image", _SCORED),
    "rollout_log_probs": PerToken("float32", "nats", "by the rollout engine", "unless responses are stored ones"),
    "student_log_probs": PerToken("float32", "nats", "by the trainer, at temperature 1", "always", dumped=False),
    "divergence": PerToken("float32", "nats", "what the token weights weigh", "with distillation", dumped=False),
    "degraded_reverse_kl": PerToken("float32", "nats", "KL(student || teacher), degraded image", _GAP, dumped=False),
}
"""By name; those that are dumped in the order of their columns."""
DUMPED = tuple(name for name, value in PER_TOKEN.items() if value.dumped)


def require_known(names: Iterable[str], known: Iterable[str] = PER_TOKEN) -> None:
    """Raise ValueError that lists the names that are no per-token values."""
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"per-token values: got {', '.join(unknown)}, expected names among {', '.join(known)}")


def as_markdown() -> str:
    """The section of docs/metrics.md."""
    lines = ["## Per-token values", "", "| name | meaning [unit] | dtype | there | dumped |", "|---|---|---|---|---|"]
    for name, value in PER_TOKEN.items():
        dumped = "yes" if value.dumped else "no"
        cells = (f"`{name}`", value.text.replace("|", "&#124;"), value.dtype, value.when, dumped)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
