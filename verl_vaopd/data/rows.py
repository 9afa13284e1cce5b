"""One row of a data file as training reads it: the one reader, of the check before a start and of every prompt later.

docs/user_guide.md ("Your own data") describes the columns. What a row must have and has not is a RowError, which says
the column, what was got, what was expected and the fix; nothing of a row is guessed. Imports neither torch nor verl.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verl_vaopd.data.scoring import SCORERS, is_usable
from verl_vaopd.image_files import ImageFileError, load_image

IMAGE_MARK = "<image>"
REQUIRED = ("prompt", "data_source", "reward_model")
"""Columns that every file has."""
OPTIONAL = ("images", "extra_info")
UNUSED = ("videos", "audios")
"""Columns that verl knows and no method here reads: they must be empty."""
COLUMNS = (*REQUIRED, *OPTIONAL, *UNUSED)
"""All that is read of a file."""
ROLES = ("system", "user", "assistant")

_SPECIAL = re.compile(r"<\|(?:image_pad|video_pad|vision_(?:start|end|pad)|im_start|im_end|endoftext)\|>")
"""Tokens of Qwen's that no text may hold: they would be read as images and as ends of messages."""
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]{64,}={0,2}\s*")
_LONGEST_PATH = 4096  # of Linux


class RowError(ValueError):
    """What is wrong with one row.

    Attributes:
        num_tokens: of a prompt that is too long; 0 for everything else.
    """

    num_tokens = 0

    def __init__(self, column: str, what: str, got: object, expected: str, fix: str):
        self.column, self.what, self.got, self.expected, self.fix = column, what, shown(got), expected, fix
        super().__init__(column, what, self.got, expected, fix)

    def __str__(self) -> str:
        return f"{self.column}: {self.what}: got {self.got}, expected {self.expected}; {self.fix}"


@dataclass(frozen=True)
class Row:
    """A row, read and checked but for its images' content."""

    index: str
    """Its own in its file: `extra_info.index`, else the number of the row."""
    messages: list[dict[str, Any]]
    """Role and content; the content is text, or parts of which those of type image have their file's bytes."""
    images: tuple[bytes, ...]
    """Image files in the order of their marks."""
    data_source: str
    ground_truth: str
    question: str
    """Text of the last message as it is written, without the suffix: what lists the options, if anything does."""
    extra_info: dict[str, Any]

    def require_images(self) -> list[tuple[int, int]]:
        """Decode every image; returns their (width, height). Raises RowError for one that cannot be."""
        sizes = []
        for place, data in enumerate(self.images):
            try:
                sizes.append(load_image(data).size)
            except ImageFileError as error:
                fix = "save the picture as PNG or JPEG, or leave the row out"
                raise RowError(f"images[{place}]", error.what, Verbatim(error.got), error.expected, fix) from None
        return sizes


def read_row(raw: Mapping[str, Any], number: int, folder: Path, prompt_suffix: str) -> Row:
    """A row of a data file.

    Args:
        raw: those of COLUMNS that the file has.
        number: of the row in its file, from 0; stands in for an index.
        folder: the file's, to which paths of images are relative.
        prompt_suffix: appended to the question, unless it ends in it.
    Raises:
        RowError: for the first thing that is wrong.
    """
    for column in UNUSED:
        _require(not raw.get(column), column, "training reads images only", raw.get(column), "nothing", "leave it out")
    extra_info = _extra_info(raw.get("extra_info"))
    images = _images(raw.get("images"), folder)
    messages = _messages(raw.get("prompt"), images, prompt_suffix)
    question = raw["prompt"][-1]["content"].removesuffix(prompt_suffix)
    data_source = _data_source(raw.get("data_source"))
    return Row(
        index=_index(extra_info, number),
        messages=messages,
        images=images,
        data_source=data_source,
        ground_truth=_ground_truth(raw.get("reward_model"), data_source, question),
        question=question,
        extra_info=extra_info,
    )


def index_of(extra_info: Any, number: int) -> str:
    """What names a row in its file: `extra_info.index`, else its number. Raises RowError for what is neither."""
    return _index(_extra_info(extra_info), number)


class Verbatim(str):
    """A text of our own, shown without quotes."""


def shown(value: object) -> str:
    """A value as an error shows it: its beginning, with its type where that is the point."""
    if isinstance(value, Verbatim):
        return str(value) if len(value) <= 240 else f"{value[:240]}..."
    if value is None:
        return "nothing (null)"
    text = repr(value[:60] if isinstance(value, str | bytes) else value)
    text = text if len(text) <= 120 else f"{text[:120]}..."
    kind = "" if isinstance(value, str) else f" ({type(value).__name__})"
    return f"{text}{kind}" if not isinstance(value, str) or len(value) <= 60 else f"{text}... ({len(value)} characters)"


def _require(holds: bool, column: str, what: str, got: object, expected: str, fix: str) -> None:
    if not holds:
        raise RowError(column, what, got, expected, fix)


def _messages(prompt: Any, images: Sequence[bytes], suffix: str) -> list[dict[str, Any]]:
    chat = '[{"role": "user", "content": "<image>What is ...?"}]'
    _require(
        isinstance(prompt, list) and bool(prompt), "prompt", "no list of messages", prompt, chat, f"write it as {chat}"
    )
    for place, message in enumerate(prompt):
        column = f"prompt[{place}]"
        _require(isinstance(message, Mapping), column, "no message", message, chat, f"write it as {chat}")
        role, content = message.get("role"), message.get("content")
        last = place == len(prompt) - 1
        roles = ("user",) if last else ROLES
        why = "the last message asks" if last else "no such role"
        _require(role in roles, f"{column}.role", why, role, " or ".join(roles), "name the role")
        _require(
            isinstance(content, str),
            f"{column}.content",
            "no text",
            content,
            f"text, with {IMAGE_MARK} where an image stands",
            f"write parts as one text, such as {IMAGE_MARK}What is ...?",
        )
        special = _SPECIAL.search(content)
        _require(
            special is None,
            f"{column}.content",
            "a special token of the model in the text",
            special and special.group(),
            f"plain text, with {IMAGE_MARK} where an image stands",
            "take it out: the chat template adds what the model needs",
        )
    texts = [message["content"] for message in prompt]
    question = texts[-1]
    _require(
        bool(question.replace(IMAGE_MARK, "").strip()),
        f"prompt[{len(prompt) - 1}].content",
        "no question",
        question,
        "text",
        "write the question, or leave the row out",
    )
    num_marks = sum(text.count(IMAGE_MARK) for text in texts)
    _require(
        num_marks == len(images),
        "prompt",
        "marks and images do not match",
        Verbatim(f"{num_marks} x {IMAGE_MARK} in the text and {len(images)} in `images`"),
        "one mark for each image",
        f"write {IMAGE_MARK} where each image stands, and the word in another way where none is meant",
    )
    if not question.endswith(suffix):
        texts[-1] = question + suffix
    rest = iter(images)
    return [
        {"role": message["role"], "content": _content(text, rest)} for message, text in zip(prompt, texts, strict=True)
    ]


def _content(text: str, images: Iterator[bytes]) -> str | list[dict[str, Any]]:
    """The text itself, or its parts if there are images in it, which are taken from the iterator."""
    first, *others = text.split(IMAGE_MARK)
    if not others:
        return text
    parts: list[dict[str, Any]] = [{"type": "text", "text": first}] if first else []
    for other in others:
        parts.append({"type": "image", "image": next(images)})
        parts += [{"type": "text", "text": other}] if other else []
    return parts


def _images(value: Any, folder: Path) -> tuple[bytes, ...]:
    if value is None:
        return ()
    form = '[{"bytes": ...}] or [{"path": "figures/7.png"}]'
    _require(isinstance(value, list), "images", "no list", value, form, "put it into a list")
    return tuple(_image_bytes(f"images[{place}]", item, folder) for place, item in enumerate(value))


def _image_bytes(column: str, item: Any, folder: Path) -> bytes:
    if isinstance(item, Mapping):
        data, path = item.get("bytes"), item.get("path")
        item = data if data is not None else path
    if isinstance(item, bytes | bytearray):
        return bytes(item)
    expected = "the bytes of an image file, or its path, absolute or relative to the parquet file"
    _require(isinstance(item, str) and bool(item), column, "no image", item, expected, "give bytes or path")
    if item.startswith("data:") or _BASE64.fullmatch(item):
        raise RowError(column, "text instead of bytes", item, expected, "store base64.b64decode(text) as bytes")
    if "://" in item:
        raise RowError(column, "an address", item, expected, "download the image, and store its bytes or its path")
    path = folder / item
    try:
        if len(item) < _LONGEST_PATH and path.is_file():
            return path.read_bytes()
    except (OSError, ValueError) as error:
        raise RowError(column, "unreadable", Verbatim(error), expected, "make the file readable") from None
    raise RowError(column, "no such file", Verbatim(path), expected, "put the file there, or correct the path")


def _data_source(value: Any) -> str:
    _require(
        isinstance(value, str) and value in SCORERS,
        "data_source",
        "no rule says what is right",
        value,
        f"one of {', '.join(sorted(SCORERS))}",
        "name the rule, such as exact_match, or add one to verl_vaopd.data.scoring.SCORERS",
    )
    return value


def _ground_truth(reward_model: Any, data_source: str, question: str) -> str:
    form = '{"style": "rule", "ground_truth": "42"}'
    _require(isinstance(reward_model, Mapping), "reward_model", "no ground truth", reward_model, form, f"write {form}")
    truth = reward_model.get("ground_truth")
    _require(
        isinstance(truth, str) and bool(truth.strip()),
        "reward_model.ground_truth",
        "no text",
        truth,
        "the right answer as text",
        "write a number as text, one answer of a list, or leave the row out",
    )
    _require(
        is_usable(data_source, truth, question),
        "reward_model.ground_truth",
        f"not even this very answer is right by the rule {data_source}",
        truth,
        "what can stand in a \\boxed{}",
        "close its braces, or leave the row out",
    )
    return truth


def _extra_info(value: Any) -> dict[str, Any]:
    form = '{"index": 7}'
    _require(value is None or isinstance(value, Mapping), "extra_info", "no mapping", value, form, f"write {form}")
    return dict(value or {})


def _index(extra_info: Mapping[str, Any], number: int) -> str:
    index = extra_info.get("index")
    if index is None:
        return str(number)
    _require(
        isinstance(index, int | str) and not isinstance(index, bool) and index != "",
        "extra_info.index",
        "no name of a row",
        index,
        "a whole number or text",
        "number the rows, or leave it out: then the number of the row is taken",
    )
    return str(index)
