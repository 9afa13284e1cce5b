"""What was found, for a person and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from verl_vaopd.data.leaks import KINDS
from verl_vaopd.data.leaks.collecting import Collection
from verl_vaopd.data.leaks.matches import Match
from verl_vaopd.data.leaks.pictures import HASH_SIZE, MAX_DISTANCE, MAX_STRETCH
from verl_vaopd.data.leaks.questions import MIN_BYTES, MIN_BYTES_WITHOUT_NUMBERS, MIN_SIMILARITY
from verl_vaopd.stats.tables import markdown_table

NUM_SHOWN = 10
"""Matches that a person is shown; all of them are in the JSON file."""
LIMITS = {
    "hash_bits": HASH_SIZE * HASH_SIZE,
    "max_distance": MAX_DISTANCE,
    "max_stretch": MAX_STRETCH,
    "min_similarity": MIN_SIMILARITY,
    "min_bytes": MIN_BYTES,
    "min_bytes_without_numbers": MIN_BYTES_WITHOUT_NUMBERS,
}
"""What decides that two rows match."""


@dataclass(frozen=True)
class Comparison:
    """Two collections, and the matches between them."""

    left: Collection
    right: Collection
    matches: Sequence[Match]

    @property
    def is_leak(self) -> bool:
        """Whether a match is a leak, and not merely a row that is there twice."""
        return self.left is not self.right

    @property
    def title(self) -> str:
        """For tables."""
        return f"{self.left.name} and {self.right.name}" if self.is_leak else f"{self.left.name} twice (no leak)"

    def record(self, match: Match) -> dict[str, Any]:
        """One match, as JSON; row and other are ids."""
        return {
            "row": self.left.rows[match.row].id,
            "in": self.right.name,
            "other": self.right.rows[match.other].id,
            "kind": match.kind,
            "same_pixels": match.same_pixels,
            "image_distance": match.distance,
            "question_similarity": match.similarity,
        }


def num_leaks(comparisons: Sequence[Comparison]) -> int:
    """Matches between different collections."""
    return sum(len(comparison.matches) for comparison in comparisons if comparison.is_leak)


def as_text(comparisons: Sequence[Comparison]) -> str:
    """Counts of rows by what they match in, and the first NUM_SHOWN leaks."""
    head = ["", *("image + question", "image only", "question only"), "same pixels", "rows"]
    rows = [head]
    for comparison in comparisons:
        kinds = Counter(match.kind for match in comparison.matches)
        num_same = sum(match.same_pixels for match in comparison.matches)
        total = f"{len(comparison.matches)} of {len(comparison.left.rows)}"
        rows.append([comparison.title, *(str(kinds[kind]) for kind in KINDS), str(num_same), total])
    leaks = [(comparison, match) for comparison in comparisons if comparison.is_leak for match in comparison.matches]
    shown = [_line(comparison, match) for comparison, match in leaks[:NUM_SHOWN]]
    more = [f"  and {len(leaks) - NUM_SHOWN} more: --json FILE has all"] if len(leaks) > NUM_SHOWN else []
    return "\n".join([markdown_table(rows), *([""] if shown else []), *shown, *more])


def as_json(comparisons: Sequence[Comparison], digests: dict[str, str]) -> dict[str, Any]:
    """All of it.

    Args:
        digests: {name of a collection: sha256 of its file}.
    """
    collections = {collection.name: collection for pair in comparisons for collection in (pair.left, pair.right)}
    return {
        "limits": LIMITS,
        "collections": {
            name: {
                "sha256": digests[name],
                "rows": len(collection.rows),
                "images": collection.num_pictures,
                "images_not_compared": collection.num_missing,
                "rows_not_compared": collection.num_hidden,
            }
            for name, collection in collections.items()
        },
        "comparisons": [
            {
                "left": pair.left.name,
                "right": pair.right.name,
                "leak": pair.is_leak,
                "matches": [pair.record(match) for match in pair.matches],
            }
            for pair in comparisons
        ],
    }


def _line(comparison: Comparison, match: Match) -> str:
    record = comparison.record(match)
    picture = "same pixels" if match.same_pixels else f"image {match.distance} bits away"
    question = "same question" if match.similarity == 100 else f"question {match.similarity or 0:.0f} % the same"
    said = {"image+question": f"{picture}, {question}", "image": picture, "question": question}[match.kind]
    return f"  {comparison.left.name} {record['row']} = {comparison.right.name} {record['other']}: {said}"
