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
from verl_vaopd.evaluation.json_lines import numbered_objects

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


def synthetic(layout: str) -> list[Case]:
    """The synthetic cases of all eight benchmarks.

    Args:
        layout: "tsv" for the columns of VLMEvalKit's files, "hf" for those of the Hugging Face data sets.
    """
    from verl_vaopd.evaluation.crosscheck import choice_cases, maths_cases, open_cases

    return [*choice_cases.cases(layout), *maths_cases.cases(layout), *open_cases.cases(layout)]


def read_cases(path: Path, benchmark: str) -> list[Case]:
    """A user's responses: JSONL as `vaopd eval score` reads it, and `replies` by role if a judge is to be stood in for.

    Raises:
        ValueError: no file, a line that is no such row, or responses of several passes.
    """
    if not path.is_file():
        raise ValueError(f"--responses {path}: expected a JSONL file, one row per response")
    cases = []
    samples = set()
    with path.open("rb") as file:
        for number, row in numbered_objects(file, path):
            if not isinstance(row.get("response", ""), str | None):
                raise ValueError(f"{path}: line {number}: expected a text as `response`")
            response, replies = row.pop("response", None), row.pop("replies", {})
            samples.add(row.get("sample", 0))
            cases.append(Case(benchmark, f"line {number}", row, response or "", replies))
    if not cases or len(samples) > 1:
        got = f"samples {', '.join(map(str, sorted(samples, key=str)))}" if cases else "no rows"
        raise ValueError(f"{path}: got {got}, expected the responses of one pass; split them by `sample`")
    return cases
