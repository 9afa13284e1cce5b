"""Images as published, not read yet: bytes, base64, or a path beside the file that names it."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

from verl_vaopd.evaluation.formats.values import as_list

FOLDER = "images"
"""Beside the file of the questions; some publish paths from there."""
_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,")
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*")
_MAX_PATH = 1024  # characters; what is longer and holds nothing but base64 is an image
_NUMBERED = re.compile(r"image_(\d+)", re.ASCII)
_WEB = ("http://", "https://")


class RawImage(Protocol):
    """An image as published."""

    @property
    def key(self) -> str:
        """Equal for equal images of one file."""

    def missing(self) -> str | None:
        """Why there is nothing to read, as far as that is known without reading; None if there is."""

    def read(self) -> bytes:
        """The image file's bytes. Raises ValueError or OSError if they cannot be had."""


@dataclass(frozen=True)
class ImageBytes:
    """An image that came with its row."""

    data: bytes

    @property
    def key(self) -> str:
        """Hash of the bytes."""
        return hash_of(self.data)

    def missing(self) -> None:
        """See RawImage."""

    def read(self) -> bytes:
        """See RawImage."""
        return self.data


@dataclass(frozen=True)
class ImageText:
    """An image in base64 that came with its row."""

    text: str

    @property
    def key(self) -> str:
        """Hash of the text."""
        return hash_of(self.text.encode())

    def missing(self) -> None:
        """See RawImage."""

    def read(self) -> bytes:
        """See RawImage."""
        return from_base64(self.text, "an image")


@dataclass(frozen=True)
class ImageFile:
    """An image file, by its published name: a path from the folder of the file that names it, or from images/ there."""

    name: str | Path
    folder: Path = Path()

    @property
    def key(self) -> str:
        """The name, the same wherever the folder is."""
        return str(self.name)

    @cached_property
    def path(self) -> Path | None:
        """Where it is; None: nowhere."""
        return next((path for path in self._places if path.is_file()), None)

    def missing(self) -> str | None:
        """See RawImage."""
        if self.key.startswith(_WEB):
            return f"{self.name} (a web address: download it, and name the file)"
        if self.path is not None:
            return None
        return f"{self.name} (no such file in {' or '.join(dict.fromkeys(map(str, self._folders)))})"

    def read(self) -> bytes:
        """See RawImage."""
        if self.path is None:
            raise ValueError(f"image: got {self.missing()}, expected an image file; put it there")
        return self.path.read_bytes()

    @property
    def _folders(self) -> tuple[Path, ...]:
        return (self.folder, self.folder / FOLDER)

    @property
    def _places(self) -> list[Path]:
        return [folder / self.name for folder in self._folders]


@dataclass(frozen=True)
class NoImage:
    """What stands for the images of a question where its file has no column of them: enough to score by."""

    columns: tuple[str, ...]
    """That were looked for."""
    key: str
    """Another one for every question, since nobody knows which have the same image."""

    def missing(self) -> str:
        """See RawImage."""
        return f"none (the file has no column with images: {', '.join(self.columns)})"

    def read(self) -> bytes:
        """See RawImage."""
        raise ValueError(f"image: got {self.missing()}, expected one; take a file that has them")


def named_images(fields: Mapping[str, Any], columns: Sequence[str], folder: Path) -> tuple[RawImage, ...] | None:
    """The images that columns of texts name: the first of these columns that has a value, else image_1, image_2, ...

    Returns: None if there is none of the columns.
    """
    there = [fields[name] for name in columns if name in fields]
    numbered = sorted((int(match[1]), name) for name in fields if (match := _NUMBERED.fullmatch(name)))
    there += [[fields[name] for _, name in numbered]] if numbered else []
    found = (_images(value, folder) for value in there)
    return next((images for images in found if images), ()) if there else None


def from_base64(text: str, what: str) -> bytes:
    """The bytes. Raises ValueError if it is no base64."""
    try:
        return base64.b64decode(text, validate=False)
    except binascii.Error as error:
        raise ValueError(f"got {error} in {what}, expected base64; download the file again") from None


def hash_of(data: bytes) -> str:
    """What tells images apart."""
    return blake2b(data, digest_size=8).hexdigest()


def _images(value: Any, folder: Path) -> tuple[RawImage, ...]:
    if isinstance(value, Mapping):  # as the Hugging Face library has it
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return (ImageBytes(value),)
    items = as_list(value)
    if items != [value]:
        return tuple(image for item in items for image in _images(item, folder))
    if not isinstance(value, str) or not value.strip():
        return ()
    url = _DATA_URL.match(value)
    if url:
        return (ImageText(value[url.end() :]),)
    return (ImageText(value),) if len(value) > _MAX_PATH and _BASE64.fullmatch(value) else (ImageFile(value, folder),)
