"""Seeded examples of the tinygeo world, their splits, and verl parquet files.

Splits never share content, whatever the seed and the size, because membership is a pure function of what an image
shows: a hash of (kind, lengths) sends every figure to exactly one of train, validation and test. About 8 % of all pairs
of lengths are held out: no figure of those three splits shows both lengths of such a pair, and every question of
`test_unseen_pairs` needs at least one of them. `test_ood` is out of domain in drawing, wording and numbers (ood.py); a
length of one digit keeps its figures apart from all others.
"""

import hashlib
import io
import json
import random
import shlex
import zlib
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from verl_vaopd.data.tinygeo import ood, questions
from verl_vaopd.data.tinygeo.figures import KINDS, MAX_LENGTH, MIN_LENGTH, SHAPES, Figure, draw_figure
from verl_vaopd.data.tinygeo.questions import Question, Response
from verl_vaopd.data.tinygeo.splits import SPLITS
from verl_vaopd.files import MANIFEST, require_replaceable, sha256_of, whole_directory

DATA_SOURCE = "tinygeo"
_TENTHS = {"train": range(0, 8), "validation": range(8, 9), "test": range(9, 10)}
_UNSEEN_ONE_IN = 12
_ROWS_PER_GROUP = 2048
# Counted up with every change of what is written, so that an older data set is made again and never mixed with newer.
FORMAT_VERSION = 2


@dataclass(frozen=True)
class Example:
    """One row: a figure, a question about it and a reference response."""

    split: str
    index: int
    figure: Figure
    question: Question
    response: Response
    prompt: str
    prompt_with_lengths: str


def is_unseen_pair(a: int, b: int) -> bool:
    """Whether two lengths never occur together in a figure of train, validation and test."""
    return zlib.crc32(f"{min(a, b)} {max(a, b)}".encode()) % _UNSEEN_ONE_IN == 0


def split_of(kind: str, lengths: tuple[int, ...]) -> str:
    """The only split that may show a figure with these lengths."""
    if ood.is_out_of_domain(lengths):
        return "test_ood"
    if any(is_unseen_pair(a, b) for a, b in combinations(lengths, 2)):
        return "test_unseen_pairs"
    tenth = zlib.crc32(f"{kind} {lengths}".encode()) % 10
    return next(split for split, tenths in _TENTHS.items() if tenth in tenths)


@cache
def unseen_pairs() -> tuple[tuple[int, int], ...]:
    """All held-out pairs (smaller, larger)."""
    return tuple(pair for pair in combinations(range(MIN_LENGTH, MAX_LENGTH + 1), 2) if is_unseen_pair(*pair))


def sample_figure(rng: random.Random, split: str) -> tuple[Figure, tuple[str, str] | None]:
    """A figure of the split, all lengths different; for `test_unseen_pairs` also two sides with a held-out pair."""
    if split == "test_ood":
        return ood.sample_figure(rng), None
    kind = rng.choice(KINDS)
    num_sides = SHAPES[kind].num_sides
    if split == "test_unseen_pairs":
        pair = list(rng.choice(unseen_pairs()))
        rng.shuffle(pair)
        rest = rng.sample([n for n in range(MIN_LENGTH, MAX_LENGTH + 1) if n not in pair], num_sides - 2)
        lengths = rng.sample(pair + rest, num_sides)
        figure = draw_figure(rng, kind, tuple(lengths))
        return figure, (figure.sides[lengths.index(pair[0])], figure.sides[lengths.index(pair[1])])
    while True:
        lengths = rng.sample(range(MIN_LENGTH, MAX_LENGTH + 1), num_sides)
        if split_of(kind, tuple(lengths)) == split:
            return draw_figure(rng, kind, tuple(lengths)), None


def make_example(split: str, seed: int, index: int) -> Example:
    """Example `index` of a split; it depends on (split, seed, index) only, not on how many are made.

    Raises:
        ValueError: if the split is unknown.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown tinygeo split {split!r}; expected one of {', '.join(SPLITS)}")
    rng = random.Random(f"{DATA_SOURCE} {split} {seed} {index}")
    wording = questions.OUT_OF_DOMAIN if split == "test_ood" else questions.PLAIN
    figure, sides = sample_figure(rng, split)
    if sides is None:
        question = questions.ask_any(rng, figure, wording)
    else:
        question = questions.ask(rng, figure, rng.choice(questions.PAIR_TYPES), sides)
    return Example(
        split=split,
        index=index,
        figure=figure,
        question=question,
        response=questions.respond(rng, figure, question),
        prompt=questions.prompt_text(question, wording),
        prompt_with_lengths=questions.prompt_text_with_lengths(rng, figure, question, wording),
    )


def generate_examples(split: str, num_examples: int, seed: int) -> list[Example]:
    """The first `num_examples` examples of a split, in memory."""
    return [make_example(split, seed, index) for index in range(num_examples)]


def token_masks(tokenizer: Any, text: str, *spans: tuple[tuple[int, int], ...]) -> list[list[int]]:
    """Per set of character spans: 1 for every token of tokenizer(text) that overlaps one of them, else 0."""
    offsets = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).offsets
    return [[int(any(start < e and s < end for s, e in group)) for start, end in offsets] for group in spans]


def to_row(example: Example, tokenizer: Any) -> dict[str, Any]:
    """The verl row of an example: prompt with an <image> placeholder, PNG bytes, ground truth, and what was read."""
    png = io.BytesIO()
    Image.fromarray(example.figure.image).save(png, format="PNG")
    figure, question, response = example.figure, example.question, example.response
    answer = str(question.answer)
    read_mask, coarse_mask = token_masks(tokenizer, response.text, response.reads, response.coarse)
    return {
        "data_source": DATA_SOURCE,
        "prompt": [{"role": "user", "content": f"<image>{example.prompt}"}],
        "images": [{"bytes": png.getvalue(), "path": None}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": answer},
        "extra_info": {
            "split": example.split,
            "index": example.index,
            "question": example.prompt,
            "question_with_lengths": example.prompt_with_lengths,
            "answer": answer,
            "question_type": question.type,
            "kind": figure.kind,
            "sides": list(question.sides),
            "lengths": list(figure.lengths),
            "response": response.text,
            "response_read_mask": read_mask,
            "response_coarse_mask": coarse_mask,
        },
    }


SCHEMA = pa.schema(
    {
        "data_source": pa.string(),
        "prompt": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
        "images": pa.list_(pa.struct({"bytes": pa.binary(), "path": pa.string()})),
        "ability": pa.string(),
        "reward_model": pa.struct({"style": pa.string(), "ground_truth": pa.string()}),
        "extra_info": pa.struct(
            {
                "split": pa.string(),
                "index": pa.int64(),
                "question": pa.string(),
                "question_with_lengths": pa.string(),
                "answer": pa.string(),
                "question_type": pa.string(),
                "kind": pa.string(),
                "sides": pa.list_(pa.string()),
                "lengths": pa.list_(pa.int64()),
                "response": pa.string(),
                "response_read_mask": pa.list_(pa.int64()),
                "response_coarse_mask": pa.list_(pa.int64()),
            }
        ),
    }
)


def write_dataset(
    out_dir: str | Path, seed: int, num_train: int, num_validation: int, num_test: int, tokenizer: Any
) -> dict[str, Any]:
    """Write train, validation and the three test splits (`num_test` rows each) as parquet, with a manifest.json.

    The directory appears complete or not at all. If it already holds a manifest with the same request, and files of the
    recorded sha256, nothing is written. An earlier tinygeo data set of another request is replaced, unless something in
    it is not as it was written.

    Args:
        tokenizer: fast tokenizer of the models (`models.build_tokenizer()` or a shipped one); the per-token masks are
            counted in its tokens.
    Returns: the manifest: command, request, and rows, bytes and sha256 of every file.
    Raises:
        ValueError: if a size is below 1, or `out_dir` holds something else than an earlier tinygeo data set.
    """
    sizes = split_sizes(num_train, num_validation, num_test)
    if min(sizes.values()) < 1:
        raise ValueError(
            f"every tinygeo split needs at least 1 row, got {sizes}; raise num_train, num_validation, num_test"
        )
    out_dir = Path(out_dir)
    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items())).encode()
    request = {
        "format": FORMAT_VERSION,
        "seed": seed,
        "sizes": sizes,
        "tokenizer_sha256": hashlib.sha256(vocabulary).hexdigest(),
    }
    manifest = _manifest(out_dir)
    if manifest.get("request") == request and _files_match(out_dir, manifest["files"]):
        return manifest
    with whole_directory(out_dir) as unfinished:
        files = {}
        for split, size in sizes.items():
            path = unfinished / f"{split}.parquet"
            _write_split(path, split, size, seed, tokenizer)
            files[path.name] = {"rows": size, "bytes": path.stat().st_size, "sha256": sha256_of(path)}
        manifest = {"command": _command(out_dir, seed, sizes), "request": request, "files": files}
        (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    return manifest


def _write_split(path: Path, split: str, size: int, seed: int, tokenizer: Any) -> None:
    with pq.ParquetWriter(path, SCHEMA) as writer:
        for start in range(0, size, _ROWS_PER_GROUP):
            indices = range(start, min(start + _ROWS_PER_GROUP, size))
            rows = [to_row(make_example(split, seed, index), tokenizer) for index in indices]
            writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))


def require_writable(out_dir: Path, seed: int, sizes: dict[str, int]) -> None:
    """Raise ValueError if write_dataset would refuse the directory: as far as that is known without a tokenizer."""
    manifest = _manifest(out_dir) or {"request": {}, "files": {}}
    request = {"format": FORMAT_VERSION, "seed": seed, "sizes": sizes}
    same = {name: manifest["request"].get(name) for name in request} == request
    if not (same and _files_match(out_dir, manifest["files"])):
        require_replaceable(out_dir)


def split_sizes(num_train: int, num_validation: int, num_test: int) -> dict[str, int]:
    """Rows of every split."""
    return {"train": num_train, "validation": num_validation, **dict.fromkeys(SPLITS[2:], num_test)}


def _manifest(directory: Path) -> dict[str, Any]:
    """Of a tinygeo data set; {} where there is none."""
    path = directory / MANIFEST
    try:
        manifest = json.loads(path.read_text()) if path.is_file() else {}
    except ValueError:
        return {}
    return manifest if isinstance(manifest, dict) and {"request", "files"} <= manifest.keys() else {}


def _files_match(directory: Path, files: dict[str, dict[str, Any]]) -> bool:
    return all((directory / n).is_file() and sha256_of(directory / n) == f["sha256"] for n, f in files.items())


def _command(out_dir: Path, seed: int, sizes: dict[str, int]) -> str:
    arguments = {"seed": seed, **{f"num_{split}": sizes[split] for split in ("train", "validation", "test")}}
    words = ", ".join(f"{name}={value}" for name, value in arguments.items())
    return f"verl_vaopd.data.tinygeo.dataset.write_dataset({shlex.quote(out_dir.name)}, {words})"
