"""Which rows of one collection are also in another one, or twice in the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from verl_vaopd.data.leaks import KINDS
from verl_vaopd.data.leaks.collecting import Collection, Kept
from verl_vaopd.data.leaks.neighbours import Neighbours, near_pictures, near_questions
from verl_vaopd.data.leaks.pictures import Picture
from verl_vaopd.data.leaks.questions import Asked, similarity


@dataclass(frozen=True)
class Match:
    """A row, and the one in the other collection that it has most in common with."""

    row: int
    """Its number."""
    other: int
    kind: str
    """One of KINDS."""
    distance: int | None
    """Of their pictures in bits: 0 for equal pixels or equal hashes; None: the kind is question."""
    similarity: float | None
    """Of their questions, out of 100; None: the kind is image."""
    same_pixels: bool

    @property
    def order(self) -> tuple[int, int, float]:
        """The smaller, the more they have in common."""
        return KINDS.index(self.kind), self.distance or 0, -(self.similarity or 0)


class Search:
    """Compares collections; what is nearly the same is looked for once, among all of them."""

    def __init__(self, collections: Sequence[Collection]) -> None:
        """Raises ValueError as near_pictures."""
        rows = [row for collection in collections for row in collection.rows]
        pictures = {picture.pixels: picture for row in rows for picture in row.pictures}
        self._picture_numbers = {pixels: number for number, pixels in enumerate(pictures)}
        questions = {row.question.key: row.question for row in rows}
        self._question_numbers = {key: number for number, key in enumerate(questions)}
        self._pictures, self._questions = [*pictures.values()], [*questions.values()]

    def matches(self, left: Collection, right: Collection) -> list[Match]:
        """For every row of `left` that is in `right`, the closest one there; of rows before it, if they are the same.

        A row is listed once, however many it matches.
        """
        found = []
        there = _Rows()
        if left is not right:
            for number, row in enumerate(right.rows):
                there.add(number, row)
        for number, row in enumerate(left.rows):
            best = min(self._candidates(number, row, right, there), key=lambda match: match.order, default=None)
            found += [best] if best else []
            if left is right:
                there.add(number, row)
        return found

    @cached_property
    def _near_pictures(self) -> Neighbours:
        return near_pictures(self._pictures)

    @cached_property
    def _near_questions(self) -> Neighbours:
        return near_questions(self._questions)

    def _candidates(self, number: int, row: Kept, right: Collection, there: _Rows) -> Iterator[Match]:
        for picture in row.pictures:
            for pixels, distance in self._alike(picture):
                for other in there.with_picture.get(pixels, ()):
                    alike = similarity(row.question, right.rows[other].question)
                    kind = "image" if alike is None else "image+question"
                    yield Match(number, other, kind, distance, alike, pixels == picture.pixels)
        for key, alike in self._asked_alike(row.question):
            for other in there.with_question.get(key, ())[:1]:
                if row.question.is_specific:
                    yield Match(number, other, "question", None, alike, False)
        if row.is_text:
            for other in there.texts.get(row.question.key, ())[:1]:
                yield Match(number, other, "question", None, 100.0, False)

    def _alike(self, picture: Picture) -> Iterator[tuple[bytes, int]]:
        if picture.bits is None:
            return
        yield picture.pixels, 0
        for other, distance in self._near_pictures.get(self._picture_numbers[picture.pixels], ()):
            yield self._pictures[other].pixels, int(distance)

    def _asked_alike(self, question: Asked) -> Iterator[tuple[str, float]]:
        yield question.key, 100.0
        for other, alike in self._near_questions.get(self._question_numbers[question.key], ()):
            yield self._questions[other].key, alike


class _Rows:
    """Numbers of rows by what is in them, in order."""

    def __init__(self) -> None:
        self.with_picture: dict[bytes, list[int]] = defaultdict(list)
        self.with_question: dict[str, list[int]] = defaultdict(list)
        self.texts: dict[str, list[int]] = defaultdict(list)

    def add(self, number: int, row: Kept) -> None:
        """One more row."""
        for pixels in {picture.pixels for picture in row.pictures}:
            self.with_picture[pixels].append(number)
        self.with_question[row.question.key].append(number)
        if row.is_text:
            self.texts[row.question.key].append(number)
