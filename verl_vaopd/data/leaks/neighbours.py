"""All pairs of pictures, and of questions, that are nearly the same.

Pictures are sorted by their shape, so that each is compared with those of about its shape only, in blocks, by all
processors (numpy lets go of the interpreter's lock). Questions are compared within those that have the same numbers.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from verl_vaopd.data.leaks.pictures import MAX_DISTANCE, MAX_STRETCH, Picture
from verl_vaopd.data.leaks.questions import MIN_SIMILARITY, Asked

Neighbours = Mapping[int, Sequence[tuple[int, float]]]
"""{number: numbers of the others that are nearly the same, each with its distance or similarity}"""
MAX_PAIRS = 20_000_000
"""Of pictures: more are told instead of held, some gigabytes of them."""
_ROWS, _COLUMNS = 128, 8192  # of a block, which stays in the processor's cache

Words = npt.NDArray[np.uint64]
Pairs = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint16]]


def near_pictures(pictures: Sequence[Picture]) -> Neighbours:
    """Pairs of MAX_DISTANCE bits and MAX_STRETCH at most; pictures of one colour are near none.

    Raises:
        ValueError: more than MAX_PAIRS of them.
    """
    drawn = np.array([number for number, picture in enumerate(pictures) if picture.bits is not None], np.int64)
    found: dict[int, list[tuple[int, float]]] = defaultdict(list)
    if drawn.size:
        stretches = np.array([pictures[number].stretch for number in drawn])
        by_shape = drawn[np.argsort(stretches, kind="stable")]
        stretches = np.sort(stretches)
        words = np.frombuffer(b"".join(pictures[number].bits or b"" for number in by_shape), np.uint64)
        num_pairs = 0
        for lefts, rights, distances in _near_blocks(words.reshape(len(by_shape), -1), stretches):
            num_pairs += len(lefts)
            if num_pairs > MAX_PAIRS:
                raise ValueError(
                    f"pictures: got more than {MAX_PAIRS:,} pairs that look nearly the same among {len(drawn):,}, "
                    "expected photographs or figures that differ; drawings made by one program cannot be told apart so"
                )
            pairs = zip(by_shape[lefts].tolist(), by_shape[rights].tolist(), distances.tolist(), strict=True)
            for left, right, distance in pairs:
                found[left].append((right, distance))
                found[right].append((left, distance))
    return found


def near_questions(questions: Sequence[Asked]) -> Neighbours:
    """Pairs of specific questions of the same numbers, of MIN_SIMILARITY at least."""
    from rapidfuzz import fuzz, process

    of_numbers: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, question in enumerate(questions):
        if question.is_specific:
            of_numbers[question.numbers].append(number)
    found: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for alike in of_numbers.values():
        keys = [questions[number].key for number in alike]
        for start in range(0, len(alike), _ROWS) if len(alike) > 1 else ():
            some = keys[start : start + _ROWS]
            table = process.cdist(
                some, keys, scorer=fuzz.ratio, score_cutoff=MIN_SIMILARITY, dtype=np.float32, workers=-1
            )
            for row, column in zip(*np.nonzero(table), strict=True):
                if row + start != column:
                    found[alike[row + start]].append((alike[column], float(table[row, column])))
    return found


def _near_blocks(words: Words, stretches: npt.NDArray[np.float64]) -> Iterator[Pairs]:
    """Pairs of rows, the first before the second, and their distances.

    Args:
        words: [N, W], the bits of N pictures.
        stretches: [N], ascending.
    """
    num = len(words)
    ends = np.searchsorted(stretches, stretches + MAX_STRETCH, side="right")
    columns = np.ascontiguousarray(words.T)

    def near(start: int) -> list[Pairs]:
        stop = min(start + _ROWS, num)
        return [
            _near(columns, ends, slice(start, stop), slice(first, min(first + _COLUMNS, int(ends[stop - 1]))))
            for first in range(start + 1, int(ends[stop - 1]), _COLUMNS)
        ]

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        starts = range(0, num, _ROWS)
        for first in range(0, len(starts), 64):  # a few at a time: what is found is taken before more is looked for
            for blocks in threads.map(near, starts[first : first + 64]):
                yield from blocks


def _near(columns: Words, ends: npt.NDArray[np.int64], some: slice, others: slice) -> Pairs:
    distances = np.zeros((some.stop - some.start, others.stop - others.start), np.uint16)
    for word in columns:
        distances += np.bitwise_count(word[some, None] ^ word[None, others])
    lefts, rights = np.nonzero(distances <= MAX_DISTANCE)
    found = distances[lefts, rights]
    lefts, rights = lefts + some.start, rights + others.start
    wanted = (rights > lefts) & (rights < ends[lefts])
    return lefts[wanted], rights[wanted], found[wanted]
