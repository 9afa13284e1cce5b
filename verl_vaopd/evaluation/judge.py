"""The judge of the official protocols: any OpenAI-compatible model, asked once for every different prompt.

Replies are kept in an append-only JSONL file, keyed on the judge and the SHA-256 of the prompt. A call that fails is
not kept: it counts as failed, what it was for stays unscored, and the next run makes it again.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from verl_vaopd.disk import append_shared
from verl_vaopd.evaluation.chat_client import CallFailed, ChatClient, Completion
from verl_vaopd.evaluation.storage import encode, fingerprint

TEMPERATURE = 0.0


@dataclass
class Usage:
    """What this process has asked."""

    calls: int = 0
    """That got a reply."""
    from_cache: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class CachedJudge:
    """Takes a prompt and returns the reply, or None if the call failed. May be used by many threads.

    Args:
        settings: settings.JudgeSettings with a model.
        cache: the file of replies; several processes may write it.
        client: of settings.endpoint.
    Raises:
        ValueError: a file that holds something else; when called, if the server does not know the model or the key.
    """

    def __init__(self, settings: DictConfig, cache: Path, client: ChatClient) -> None:
        self._settings, self._client, self._path = settings, client, cache
        self.identity: dict[str, Any] = {
            "model": settings.model,
            "endpoint": client.endpoint,
            "temperature": TEMPERATURE,
            "max_tokens": settings.max_tokens,
        }
        self._judge = fingerprint(self.identity)
        self._lock = threading.Lock()
        self._replies: dict[str, Future[str | None]] = {}
        rows = list(_rows(cache))
        if any("judge" not in row for row in rows) or not (rows or _is_begun(cache)):
            raise ValueError(f"judge.cache: got {cache}, which holds no replies of a judge; name another file")
        for row in rows:
            if row.get("judge") == self._judge:
                reply: Future[str | None] = Future()
                reply.set_result(row["reply"])
                self._replies[row["prompt_sha256"]] = reply
        self.usage = Usage()

    def __call__(self, prompt: str) -> str | None:
        """The reply."""
        key = hashlib.sha256(prompt.encode(errors="surrogatepass")).hexdigest()
        with self._lock:
            known = self._replies.get(key)
            if known is None:
                reply = self._replies[key] = Future()
        if known is not None:
            text = known.result()  # waits, where another thread is asking
            with self._lock:
                self.usage.from_cache += text is not None
            return text
        try:
            reply.set_result(self._ask(key, prompt))
        except BaseException as error:
            reply.set_exception(error)
            raise
        return reply.result()

    def cost(self) -> float | None:
        """Of the calls of this process, in the unit of the prices; None if they are not known."""
        if self._settings.input_price is None or self._settings.output_price is None:
            return None
        tokens = self.usage.prompt_tokens, self.usage.completion_tokens
        return (tokens[0] * self._settings.input_price + tokens[1] * self._settings.output_price) / 1e6

    def describe(self) -> str:
        """Calls, tokens and cost, for a reader."""
        usage, cost = self.usage, self.cost()
        told = f"judge {self.identity['model']}: {usage.calls} calls, {usage.from_cache} replies known already, "
        told += f"{usage.failed} failed; {usage.prompt_tokens} + {usage.completion_tokens} tokens"
        return told + ("" if cost is None else f", cost {cost:.2f}")

    def _ask(self, key: str, prompt: str) -> str | None:
        payload = {
            "model": self._settings.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": TEMPERATURE,
            "max_tokens": self._settings.max_tokens,
        }
        try:
            reply = self._client.complete(payload)
        except CallFailed:
            reply = None
        with self._lock:
            if reply is not None:
                self._count(reply)
            if reply is None or not reply.text.strip():
                self.usage.failed += 1
                return None
            self._keep(key, reply)
        return reply.text

    def _count(self, reply: Completion) -> None:
        self.usage.calls += 1
        self.usage.prompt_tokens += reply.prompt_tokens or 0
        self.usage.completion_tokens += reply.completion_tokens or 0

    def _keep(self, key: str, reply: Completion) -> None:
        row = {"judge": self._judge, **self.identity, "prompt_sha256": key, "reply": reply.text}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            # A line of its own, even behind half a line of a process that was killed.
            append_shared(descriptor, ("\n" + encode(row)).encode(), self._path)
        finally:
            os.close(descriptor)


def _is_begun(path: Path) -> bool:
    """Whether a file without a whole reply is absent, empty, or what a killed process leaves."""
    begun = path.read_bytes()[:1024].lstrip() if path.is_file() else b""
    return not path.exists() or b'{"judge": '.startswith(begun[:10])


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:  # an empty line, or half of one
                continue
            if isinstance(row, dict):
                yield row
