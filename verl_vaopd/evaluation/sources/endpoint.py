"""Responses of an OpenAI-compatible server, several calls at a time."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from verl_vaopd.evaluation.benchmark import ImagePart, Question
from verl_vaopd.evaluation.chat_client import CallFailed, ChatClient
from verl_vaopd.evaluation.sources.occupancy import Occupancy
from verl_vaopd.evaluation.sources.source import Request, Response
from verl_vaopd.image_files import is_plain

_BYTES_PENDING = 1 << 30
"""Of images in pending calls: each holds its own copy while it is made."""
_IMAGE_TYPES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp", b"BM": "bmp"}


class EndpointSource:
    """One call per sample, with its own seed. The server resizes the images.

    Args:
        client: of the server.
        model: its name there.
        sampling: temperature, top_p and max_tokens.
        concurrency: calls at a time; as many again are prepared. Fewer, where images are large.
    """

    num_gpus = 0

    def __init__(self, client: ChatClient, model: str, sampling: dict[str, Any], concurrency: int) -> None:
        self._client, self._model, self._sampling = client, model, sampling
        self._concurrency = concurrency
        self.occupancy = Occupancy(concurrency)

    def responses(self, requests: Iterable[Request]) -> Iterator[list[Response]]:
        """See source.Source. A call that fails is a response without text, and says why."""
        self.occupancy.note(0)
        pool = ThreadPoolExecutor(self._concurrency)
        pending: dict[Future[Response], int] = {}
        try:
            for request in requests:
                content = message_content(request.question)
                size = sum(len(part["image_url"]["url"]) for part in content if part["type"] == "image_url")
                for sample in request.samples:
                    while len(pending) >= 2 * self._concurrency or (
                        pending and size + sum(pending.values()) > _BYTES_PENDING
                    ):
                        yield self._finished(pending)
                    pending[pool.submit(self._sample, request, content, sample)] = size
                    self.occupancy.note(len(pending))
            while pending:
                yield self._finished(pending)
        finally:
            pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        """Nothing is held."""

    def _finished(self, pending: dict[Future[Response], int]) -> list[Response]:
        """Wait for at least one call, and take those that are done out of `pending`."""
        done, _ = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            del pending[future]
        self.occupancy.note(len(pending))
        return [future.result() for future in done]

    def _sample(self, request: Request, content: list[dict[str, Any]], sample: int) -> Response:
        seed = request.seed + sample
        messages = [{"role": "user", "content": content}]
        payload = {"model": self._model, "messages": messages, "seed": seed, "n": 1, **self._sampling}
        try:
            reply = self._client.complete(payload)
        except CallFailed as error:
            return Response(request.benchmark, request.question.id, sample, seed, None, error=str(error))
        return Response(
            request.benchmark,
            request.question.id,
            sample,
            seed,
            reply.text,
            reply.finish_reason,
            num_tokens=reply.completion_tokens,
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
    """An image as a data: URL: the published file, or a PNG of it where programs disagree on what it shows.

    Raises:
        ValueError: not an image, see image_files.load_image.
    """
    data, picture = image.encoded(), image.image
    if not is_plain(data):
        png = io.BytesIO()
        picture.save(png, "PNG")
        data = png.getvalue()
    (kind,) = [kind for mark, kind in _IMAGE_TYPES.items() if data.startswith(mark)]
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
