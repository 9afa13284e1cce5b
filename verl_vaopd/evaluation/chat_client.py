"""Calls of an OpenAI-compatible server, one at a time, made again with growing pauses where that may help."""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_WORTH_ANOTHER_ATTEMPT = (408, 409, 425, 429)  # and all from 500 on
_WRONG_SETTING = (401, 403, 404)  # every other call would fail alike
_LONGEST_PAUSE = 60.0  # seconds


class CallFailed(Exception):
    """A call that got no reply; its text says why."""


@dataclass(frozen=True)
class Completion:
    """A reply."""

    text: str
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None


class ChatClient:
    """Calls of one server; may be used by many threads.

    Args:
        endpoint: base URL, such as http://localhost:8000/v1.
        key_env: environment variable with the key; none is sent if it is not set.
        timeout: of one attempt, seconds.
        attempts: of one call, at least 1.
        sleep: for tests.
    """

    def __init__(
        self, endpoint: str, key_env: str, timeout: float, attempts: int, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.endpoint = endpoint.rstrip("/")
        self._key_env = key_env
        self._timeout, self._attempts, self._sleep = timeout, attempts, sleep

    def complete(self, payload: Mapping[str, Any]) -> Completion:
        """One chat completion.

        Raises:
            CallFailed: no attempt got a reply, or the server refuses what is asked.
            ValueError: the server does not know the path, the model or the key.
        """
        data = json.dumps(payload).encode()
        for attempt in range(self._attempts):
            pause = min(2.0**attempt, _LONGEST_PAUSE)
            try:
                return _completion(self._post(data))
            except urllib.error.HTTPError as error:
                told = f"HTTP {error.code}: {_body(error)}"
                if error.code in _WRONG_SETTING:
                    raise ValueError(
                        f"{self.endpoint}: got {told}, expected a reply; check the URL, model= and the key in "
                        f"{self._key_env}"
                    ) from None
                if error.code not in _WORTH_ANOTHER_ATTEMPT and error.code < 500:
                    raise CallFailed(told) from None
                pause = _wanted_pause(error, pause)
            except (OSError, http.client.HTTPException) as error:  # not reached, too slow, cut off
                told = str(error) or type(error).__name__
            except (KeyError, IndexError, TypeError, ValueError) as error:
                told = f"a reply that is no chat completion ({error!r})"
            if attempt + 1 < self._attempts:
                self._sleep(pause)
        raise CallFailed(f"{told}, after {self._attempts} attempts")

    def _post(self, data: bytes) -> Any:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(self._key_env):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(f"{self.endpoint}/chat/completions", data, headers)
        with urllib.request.urlopen(request, timeout=self._timeout) as reply:
            return json.load(reply)


def require_endpoint(name: str, endpoint: str) -> None:
    """Check that it is a URL. Raises ValueError if not."""
    if not endpoint.startswith(("http://", "https://")):
        raise ValueError(f"{name}: got {endpoint!r}, expected a base URL, such as http://localhost:8000/v1")


def _completion(reply: Any) -> Completion:
    choice = reply["choices"][0]
    usage = reply.get("usage") or {}
    return Completion(
        text=choice["message"]["content"] or "",
        finish_reason=choice.get("finish_reason"),
        prompt_tokens=usage.get("prompt_tokens"),
        completion_tokens=usage.get("completion_tokens"),
    )


def _body(error: urllib.error.HTTPError) -> str:
    try:
        return error.read(500).decode(errors="replace").strip() or str(error.reason)
    except (OSError, http.client.HTTPException):
        return str(error.reason)


def _wanted_pause(error: urllib.error.HTTPError, pause: float) -> float:
    """The pause that the server asks for, if it does so in seconds."""
    asked = error.headers.get("Retry-After", "")
    return min(float(asked), _LONGEST_PAUSE) if asked.isdecimal() else pause
