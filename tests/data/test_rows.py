"""One row of a data file: what is read, and what is refused with its column and a fix."""

from __future__ import annotations

import base64
import io
import pickle
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from verl_vaopd.data.rows import RowError, read_row


def png(colour: str = "red", mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (4, 3), colour).save(file, "PNG")
    return file.getvalue()


RED, BLUE = png("red"), png("blue")


def raw(text: str = "<image>What is it?", images: Any = ({"bytes": RED, "path": None},), **columns: Any) -> dict:
    images = list(images) if isinstance(images, tuple) else images
    row = {
        "prompt": [{"role": "user", "content": text}],
        "images": images,
        "data_source": "exact_match",
        "reward_model": {"style": "rule", "ground_truth": "42"},
        "extra_info": {"index": 7, "split": None},
        **columns,
    }
    return {name: value for name, value in row.items() if value != "absent"}


def read(row: dict, folder: Path = Path("nowhere"), suffix: str = "") -> Any:
    return read_row(row, 3, folder, suffix)


def test_marks_become_the_images_in_their_order() -> None:
    row = read(raw("<image> and <image>?", ({"bytes": RED, "path": "a name"}, BLUE)))
    (message,) = row.messages
    assert message["role"] == "user"
    assert message["content"] == [
        {"type": "image", "image": RED},
        {"type": "text", "text": " and "},
        {"type": "image", "image": BLUE},
        {"type": "text", "text": "?"},
    ]
    assert (row.index, row.ground_truth, row.data_source, row.images) == ("7", "42", "exact_match", (RED, BLUE))
    assert row.require_images() == [(4, 3), (4, 3)]


def test_a_path_is_relative_to_the_file_or_absolute(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "7 ü.png").write_bytes(BLUE)
    for item in ("figures/7 ü.png", str(tmp_path / "figures/7 ü.png"), {"bytes": None, "path": "figures/7 ü.png"}):
        assert read(raw(images=[item]), tmp_path).images == (BLUE,)


@pytest.mark.parametrize("images", [None, [], "absent"])
def test_a_row_may_be_text_alone(images: Any) -> None:
    row = read(raw("What is 6 x 7?", images))
    assert row.messages == [{"role": "user", "content": "What is 6 x 7?"}]
    assert row.images == () and row.require_images() == []


def test_messages_before_the_question() -> None:
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "<image>What?", "name": None},
        {"role": "assistant", "content": "A dot."},
        {"role": "user", "content": "And here: <image>"},
    ]
    row = read(raw(prompt=chat, images=(RED, BLUE)), suffix=" Why?")
    assert [message["role"] for message in row.messages] == ["system", "user", "assistant", "user"]
    assert row.messages[1]["content"][0]["image"] == RED
    assert row.messages[3]["content"][1:] == [{"type": "image", "image": BLUE}, {"type": "text", "text": " Why?"}]


@pytest.mark.parametrize("text", ["What is it?", "What is it? Why?"])
def test_the_suffix_ends_the_question_once(text: str) -> None:
    assert read(raw(text, None), suffix=" Why?").messages[0]["content"] == "What is it? Why?"


@pytest.mark.parametrize(
    ("extra_info", "index"),
    [({"index": "q-7"}, "q-7"), ({"index": 0}, "0"), ({"index": None}, "3"), ({}, "3"), (None, "3"), ("absent", "3")],
)
def test_the_number_of_the_row_stands_in_for_an_index(extra_info: Any, index: Any) -> None:
    assert read(raw(extra_info=extra_info)).index == index


LONG = base64.b64encode(RED * 3).decode()
BAD: list[tuple[dict, str, str]] = [
    # prompt
    (raw(prompt=None), "prompt", "no list of messages"),
    (raw(prompt="<image>What is it?"), "prompt", "no list of messages"),
    (raw(prompt=[]), "prompt", "no list of messages"),
    (raw(prompt={"role": "user", "content": "What?"}), "prompt", "no list of messages"),
    (raw(prompt=["<image>What?"]), "prompt[0]", "no message"),
    (raw(prompt=[{"role": "human", "content": "<image>What?"}]), "prompt[0].role", "the last message asks"),
    (
        raw(prompt=[{"role": "tool", "content": "a"}, {"role": "user", "content": "b"}]),
        "prompt[0].role",
        "no such role",
    ),
    (raw(prompt=[{"role": "assistant", "content": "<image>It is."}]), "prompt[0].role", "the last message asks"),
    (raw(prompt=[{"content": "<image>What?"}]), "prompt[0].role", "the last message asks"),
    (raw(prompt=[{"role": "user", "content": None}]), "prompt[0].content", "no text"),
    (raw(prompt=[{"role": "user", "content": [{"type": "text", "text": "What?"}]}]), "prompt[0].content", "no text"),
    (raw("", None), "prompt[0].content", "no question"),
    (raw(" \n", None), "prompt[0].content", "no question"),
    (raw("<image> "), "prompt[0].content", "no question"),
    (raw("<image>What is <|image_pad|>?"), "prompt[0].content", "a special token"),
    (raw("<image>What?<|im_end|>"), "prompt[0].content", "a special token"),
    # marks and images
    (raw("Write <image> in HTML.", None), "prompt", "1 x <image> in the text and 0 in `images`"),
    (raw("<image>What is <image> in HTML?"), "prompt", "2 x <image> in the text and 1 in `images`"),
    (raw("What is it?"), "prompt", "0 x <image> in the text and 1 in `images`"),
    (raw(images=(RED, BLUE)), "prompt", "1 x <image> in the text and 2 in `images`"),
    # images
    (raw(images={"bytes": RED, "path": None}), "images", "no list"),
    (raw(images=RED), "images", "no list"),
    (raw(images="figures/7.png"), "images", "no list"),
    (raw(images=[None]), "images[0]", "no image"),
    (raw(images=[[{"bytes": RED}]]), "images[0]", "no image"),
    (raw(images=[7]), "images[0]", "no image"),
    (raw(images=[{"bytes": None, "path": None}]), "images[0]", "no image"),
    (raw(images=[{"url": "x"}]), "images[0]", "no image"),
    (raw(images=[""]), "images[0]", "no image"),
    (raw(images=["absent.png"]), "images[0]", "nowhere/absent.png"),
    (raw(images=["a" * 300 + ".png"]), "images[0]", "no such file"),
    (raw(images=["x." * 5000]), "images[0]", "no such file"),
    (raw(images=["nul\0.png"]), "images[0]", "no such file"),
    (raw(images=["."]), "images[0]", "no such file"),
    (raw(images=[LONG]), "images[0]", "text instead of bytes"),
    (raw(images=[{"bytes": LONG, "path": None}]), "images[0]", "text instead of bytes"),
    (raw(images=[f"data:image/png;base64,{LONG}"]), "images[0]", "text instead of bytes"),
    (raw(images=["https://example.org/7.png"]), "images[0]", "an address"),
    (raw(images=[b""]), "images[0]", "no bytes at all"),
    (raw(images=[RED[:-24]]), "images[0]", "a damaged image"),
    (raw(images=[b"version https://git-lfs.github.com/spec/v1\n"]), "images[0]", "no image"),
    # what is right
    (raw(data_source=None), "data_source", "no rule says what is right"),
    (raw(data_source="my data"), "data_source", "exact_match"),
    (raw(reward_model={"ground_truth": "\\frac{1}{2"}), "reward_model.ground_truth", "close its braces"),
    (raw(data_source=["exact_match"]), "data_source", "no rule"),
    (raw(reward_model=None), "reward_model", "no ground truth"),
    (raw(reward_model="42"), "reward_model", "no ground truth"),
    *(
        (raw(reward_model={"ground_truth": truth}), "reward_model.ground_truth", "no text")
        for truth in (None, 42, 4.2, ["42"], {"target": "42"}, True, "", " ")
    ),
    (raw(reward_model={"answer": "42"}), "reward_model.ground_truth", "nothing (null)"),
    # the rest
    (raw(extra_info="{}"), "extra_info", "no mapping"),
    (raw(extra_info=[7]), "extra_info", "no mapping"),
    *((raw(extra_info={"index": index}), "extra_info.index", "no name") for index in (7.0, True, "", [7])),
    (raw(videos=[{"path": "a.mp4"}]), "videos", "images only"),
]


@pytest.mark.parametrize(("row", "column", "says"), BAD, ids=[f"{number}-{bad[1]}" for number, bad in enumerate(BAD)])
def test_what_cannot_be_used_is_refused(row: dict, column: str, says: str) -> None:
    with pytest.raises(RowError) as caught:
        read(row).require_images()
    error = caught.value
    assert error.column == column and says in str(error) and error.expected and error.fix
    assert len(str(error)) < 700
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
