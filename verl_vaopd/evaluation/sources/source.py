"""What is asked of a source of responses, and what it gives back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from verl_vaopd.evaluation.benchmark import Question
from verl_vaopd.evaluation.sources.occupancy import Occupancy


@dataclass(frozen=True)
class Request:
    """The samples of one question that are missing."""

    benchmark: str
    question: Question
    samples: tuple[int, ...]
    """Numbers from 0, ascending."""
    seed: int
    """Of sample 0; that of sample i is seed + i."""


@dataclass(frozen=True)
class Response:
    """One sample."""

    benchmark: str
    question: str
    sample: int
    seed: int | None
    text: str | None
    """None: the call failed, and is made again by the next run."""
    finish_reason: str | None = None
    """`length`: cut off."""
    num_tokens: int | None = None
    error: str | None = None


class Source(Protocol):
    """Where responses come from."""

    @property
    def occupancy(self) -> Occupancy | None:
        """Of what answers, over the time of `responses`; None: the responses were made elsewhere."""

    @property
    def num_gpus(self) -> int:
        """Of this machine that it uses: the first so many of the visible ones."""

    def responses(self, requests: Iterable[Request]) -> Iterator[list[Response]]:
        """The responses, in groups that are stored as one, in any order. Requests are taken as they are needed."""

    def close(self) -> None:
        """Free what it holds."""


def row_of(response: Response, sampling: Mapping[str, Any], config_hash: str) -> dict[str, Any]:
    """The line of responses.jsonl.

    Args:
        response: of the source.
        sampling: temperature and so on, as far as they are known.
        config_hash: of configuration and data.
    """
    return {
        "question": response.question,
        "sample": response.sample,
        "seed": response.seed,
        "response": response.text,
        "finish_reason": response.finish_reason,
        "num_tokens": response.num_tokens,
        "error": response.error,
        "sampling": dict(sampling),
        "config_hash": config_hash,
    }
