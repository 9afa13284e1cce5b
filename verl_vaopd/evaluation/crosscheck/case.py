"""What is cross-checked: a response to a question, and what a judge would reply where a scorer asks one.

Synthetic cases are the same on every machine. Judges are told what to say, so that both sides hear the same: replies
have a role, by which our prompts and those of the other framework are told apart.

    extraction   the answer that a response gives (MathVista, MathVerse)
    comparison   1 or 0: whether it agrees with the published one (MathVerse)
    judgement    correct, incorrect or unclear (HallusionBench)
    choice       the letter of an option (AI2D, MMStar)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from verl_vaopd.evaluation.benchmark import Judge
from verl_vaopd.files import read_yaml

TABLES: dict[str, Any] = read_yaml(Path(__file__).with_name("cases.yaml"))
"""What the synthetic cases are made of, by kind of question or benchmark."""

_ROLES = {"Final answer:": "extraction", "Digit:": "comparison", "Word:": "judgement", "Letter:": "choice"}


@dataclass(frozen=True)
class Case:
    """One response to score."""

    benchmark: str
    id: str
    """Unique within the benchmark."""
    fields: dict[str, Any]
    """Of the question, in the columns of the published file that the framework reads."""
    response: str
    replies: Mapping[str, str | None] = field(default_factory=dict)
    """A judge's, by role; None for a call that fails."""

    @property
    def input_hash(self) -> str:
        """Of all that a scorer sees: a recorded outcome belongs to this input."""
        text = json.dumps([self.benchmark, self.fields, self.response, dict(self.replies)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def judge(self) -> Judge | None:
        """One that gives these replies to our prompts; None if there are none."""
        if not self.replies:
            return None
        return lambda prompt: self.replies.get(_ROLES[prompt.rpartition("\n")[2]])
