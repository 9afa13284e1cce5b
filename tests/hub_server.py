"""A server of this machine that answers as the Hugging Face hub does, for what huggingface_hub asks of it here."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from huggingface_hub import constants

LARGE = (".parquet", ".safetensors", ".bin")
"""Endings of files that the hub holds outside git: their digest is a SHA-256."""


@dataclass
class Repo:
    """One repository, at one commit."""

    files: dict[str, bytes]
    commit: str = "0123456789abcdef0123456789abcdef01234567"
    refused: str | None = None
    """X-Error-Code of the answer, instead of what is asked for."""
    cut: dict[str, int] = field(default_factory=dict)
    """{file: bytes after which its first answer breaks off}."""
    gone: set[str] = field(default_factory=set)
    """Files that are listed, and not found."""
    other_content: dict[str, bytes] = field(default_factory=dict)
    """{file: what is sent instead of what the hub says it has}."""


@dataclass
class Hub:
    """The server: its address, `{"datasets/NAME" or "models/NAME": Repo}`, and what was asked of it."""

    endpoint: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Method, path and Range."""
    tokens: dict[str, str | None] = field(default_factory=dict)
    """What came with the last request of a path."""

    def fetched(self) -> list[str]:
        """Names of the files of which content was asked for, in order."""
        return [
            path.partition("/resolve/")[2].partition("/")[2]
            for method, path, _ in self.asked
            if method == "GET" and "/resolve/" in path
        ]


def ask(hub: Hub, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Have huggingface_hub ask it in this process, which has read HF_ENDPOINT and HF_HOME already."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    template = urlsplit(constants.HUGGINGFACE_CO_URL_TEMPLATE).path
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


def repo_of(directory: Path) -> Repo:
    """A repository of the files in a directory."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return Repo({path.relative_to(directory).as_posix(): path.read_bytes() for path in files})


@contextmanager
def serve() -> Iterator[Hub]:
    """A hub without repositories."""
    hub = Hub()

    class Handler(_Handler):
        served = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    served: Hub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = urlsplit(self.path).path.lstrip("/")
        self.served.asked.append((self.command, path, self.headers["Range"]))
        self.served.tokens[f"{self.command} {path}"] = self.headers["Authorization"]
        is_api = path.startswith("api/")
        path = path.removeprefix("api/")
        if not is_api and not path.startswith("datasets/"):
            path = f"models/{path}"
        name = "/".join(path.split("/")[:3])
        repo, rest = self.served.repos.get(name), path[len(name) + 1 :]
        if repo is None or repo.refused:
            # The hub says 401 of what is not there, so that nobody learns which private ones are.
            code = repo.refused if repo else "RepoNotFound"
            self._send(403 if code == "GatedRepo" else 401, b"{}", {"X-Error-Code": str(code)})
        elif is_api:
            self._send(200, json.dumps(_listing(name, repo, rest)).encode(), {"Content-Type": "application/json"})
        else:
            self._send_file(repo, "/".join(rest.split("/")[2:]))

    def _send_file(self, repo: Repo, name: str) -> None:
        if name not in repo.files or name in repo.gone:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repo.commit})
            return
        digest = _sha256(repo.files[name]) if name.endswith(LARGE) else _git_id(repo.files[name])
        content = repo.other_content.get(name, repo.files[name])
        headers = {"ETag": f'"{digest}"', "X-Repo-Commit": repo.commit, "Accept-Ranges": "bytes"}
        start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        cut = repo.cut.pop(name, None) if self.command == "GET" else None
        self._send(206 if start else 200, content[start:], headers, cut)

    def _send(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


def _listing(name: str, repo: Repo, rest: str) -> Any:
    """Of a whole repository, or as a tree."""
    if rest.startswith("tree/"):
        return [{"type": "file", "path": file, **_entry(file, content)} for file, content in repo.files.items()]
    entries = [
        {"rfilename": file, **_entry(file, content), "blobId": _git_id(content)} for file, content in repo.files.items()
    ]
    return {"id": name.partition("/")[2], "sha": repo.commit, "private": False, "siblings": entries}


def _entry(file: str, content: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"size": len(content), "oid": _git_id(content)}
    if file.endswith(LARGE):
        entry["lfs"] = {"sha256": _sha256(content), "oid": _sha256(content), "size": len(content), "pointerSize": 100}
    return entry


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _git_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
