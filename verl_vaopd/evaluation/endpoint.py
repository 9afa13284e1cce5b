"""Responses of an OpenAI-compatible server, several calls at a time."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from verl_vaopd.evaluation.benchmark import ImagePart, Question
from verl_vaopd.evaluation.chat_client import CallFailed, ChatClient
from verl_vaopd.evaluation.requests import Request, Response

_IMAGE_TYPES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp", b"BM": "bmp"}


class EndpointSource:
    """One call per sample, with its own seed. Images are sent as published; the server resizes them.

    Args:
        client: of the server.
        model: its name there.
        sampling: temperature, top_p and max_tokens.
        concurrency: calls at a time; as many again are prepared.
    """

    def __init__(self, client: ChatClient, model: str, sampling: dict[str, Any], concurrency: int) -> None:
        self._client, self._model, self._sampling = client, model, sampling
        self._concurrency = concurrency

    def responses(self, requests: Iterable[Request]) -> Iterator[list[Response]]:
        """See requests.Source. A call that fails is a response without text, and says why."""
        pool = ThreadPoolExecutor(self._concurrency)
        pending: set[Future[Response]] = set()
        try:
            for request in requests:
                messages = [{"role": "user", "content": message_content(request.question)}]
                for sample in request.samples:
                    if len(pending) >= 2 * self._concurrency:
                        done, pending = wait(pending, return_when=FIRST_COMPLETED)
                        yield [future.result() for future in done]
                    pending.add(pool.submit(self._sample, request, messages, sample))
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield [future.result() for future in done]
        finally:
            pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        """Nothing is held."""

    def _sample(self, request: Request, messages: list[dict[str, Any]], sample: int) -> Response:
        seed = request.seed + sample
        payload = {"model": self._model, "messages": messages, "seed": seed, "n": 1, **self._sampling}
        try:
            reply = self._client.complete(payload)
        except CallFailed as error:
            return Response(request.question.id, sample, seed, None, error=str(error))
        return Response(
            request.question.id, sample, seed, reply.text, reply.finish_reason, num_tokens=reply.completion_tokens
        )


def message_content(question: Question) -> list[dict[str, Any]]:
    """The parts of a user message."""
    return [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": {"url": data_url(part)}}
        for part in question.content
    ]


def data_url(image: ImagePart) -> str:
    """The published file as a data: URL.

    Raises:
        ValueError: not an image.
    """
    data = image.encoded()
    kinds = [kind for mark, kind in _IMAGE_TYPES.items() if data.startswith(mark)]
    if not kinds:
        raise ValueError(
            f"image: got a file that begins with {data[:8]!r}, expected {', '.join(_IMAGE_TYPES.values())}"
        )
    return f"data:image/{kinds[0]};base64,{base64.b64encode(data).decode()}"
