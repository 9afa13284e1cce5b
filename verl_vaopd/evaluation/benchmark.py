"""What a benchmark is: its questions, its two scoring protocols, its metrics.

Fields are the columns of the published row without its images; the layouts of VLMEvalKit (TSV) and of the Hugging Face
data set are both understood, wherever fields come from (a file, or a row on stdin).

Two protocols, never mixed in one table:

- `rule`: ours and deterministic. Think-blocks are cut out; the last balanced box counts, else the last answer mark;
  what is left is normalised strictly. A response without an answer is unparsed (`parsed` is None) and wrong.
- `official`: what the benchmark's own parser does, oddities included (each benchmark's docstring lists them). Where
  the official one asks a judge, so do we, with prompts of our own; without a judge, or when a call fails, `hit` is
  None: never a guess.

Nothing here needs torch, vLLM, transformers or pandas.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from verl_vaopd.evaluation.formats.images import NoImage, RawImage
from verl_vaopd.evaluation.published import read_rows
from verl_vaopd.evaluation.shares import accuracy, percent

if TYPE_CHECKING:
    from PIL import Image

PROTOCOLS = ("rule", "official")
PaperAverage = Literal["Math avg", "Visual avg"]
"""The averages of the paper's table, in its order."""

Fields = Mapping[str, Any]
Judge = Callable[[str], str | None]
"""Takes a prompt and returns the reply, or None if the call failed."""


@dataclass(frozen=True)
class ImagePart:
    """One image of a question. It is read on demand, and decoded once, for as long as the part is kept."""

    raw: RawImage

    def encoded(self) -> bytes:
        """The image file's bytes, as published. Raises ValueError or OSError if they cannot be had."""
        return self.raw.read()

    @cached_property
    def image(self) -> "Image.Image":
        """As image_files.load_image, which also says when it raises ValueError."""
        from verl_vaopd.image_files import load_image

        return load_image(self.encoded())


@dataclass(frozen=True)
class Question:
    """One question, ready to be asked."""

    id: str
    """Unique within the benchmark, the same in every run over the same file."""
    content: tuple[str | ImagePart, ...]
    """Text and images in the order of the prompt."""
    fields: dict[str, Any]
    cluster: str
    """Questions of one cluster are not independent: error bars resample whole clusters."""


@dataclass(frozen=True)
class Verdict:
    """What became of one response."""

    parsed: str | None
    """The answer that was found in it; None: unparsed."""
    hit: float | None
    """1.0 right, 0.0 wrong, None not scored: a judge is needed and was not given, or failed."""


@dataclass(frozen=True)
class Benchmark(ABC):
    """One benchmark. A subclass with switches is a frozen dataclass, whose fields they are."""

    name: ClassVar[str]
    title: ClassVar[str]
    """In tables."""
    paper_average: ClassVar[PaperAverage | None] = None
    """What it counts towards in the paper's table; None: it is none of the paper's benchmarks."""
    hub_id: ClassVar[str | None] = None
    """Of the data set on the Hugging Face hub."""
    tsv: ClassVar[str | None] = None
    """VLMEvalKit's file, without its ending."""
    made_by: ClassVar[str | None] = None
    """What writes its files, where nobody publishes any."""
    splits: ClassVar[tuple[str, ...]]
    """File names (up to the first dot or hyphen) of the split in a directory of parquet files."""
    id_fields: ClassVar[tuple[str, ...]] = ("index",)
    """Fields of which the first that is present is the question's id."""
    cluster_fields: ClassVar[tuple[str, ...]] = ()
    """Fields of which the first that is present is the cluster; without one, questions about the same images are."""
    image_columns: ClassVar[tuple[str, ...]] = ("images", "image", "image_path")
    """Of paths of images, where the file does not hold them; see published.read_rows."""
    needs_image: ClassVar[bool] = False
    """Whether rows of the published file that have no image are left out."""
    left_out_for: ClassVar[str] = "they have no image"
    """Why rows are no questions, where some are not."""
    may_be_text: ClassVar[bool] = False
    """Whether a question may be asked without any image."""
    resizes: ClassVar[bool] = True
    """Whether its images are brought within the limits of pixels."""
    headline: ClassVar[str] = "accuracy"
    """The metric that tables report."""
    max_points: ClassVar[float] = 100.0
    """What the headline is out of."""
    headline_parts: ClassVar[tuple[str, ...]] = ()
    """Metrics whose mean the headline is, where they are shares of different things, as of answers and of figures;
    empty where it is one share itself. Error bars need to know."""
    explained_by: ClassVar[tuple[str, ...]] = ()
    """Metrics without which the headline says too little; tables print them beside it."""
    protocols: ClassVar[tuple[str, ...]] = PROTOCOLS

    @abstractmethod
    def prompt(self, fields: Fields) -> str:
        """The question's text as published. Raises ValueError if a field is missing."""

    @abstractmethod
    def rule(self, fields: Fields, response: str) -> Verdict:
        """Score by the protocol `rule`."""

    def official(self, fields: Fields, response: str, judge: Judge | None, seed: int) -> Verdict:
        """Score by the protocol `official`."""
        raise ValueError(f"protocol: got 'official', expected 'rule'; {self.name} has no other one")

    def score(
        self, fields: Fields, response: str | None, protocol: str, judge: Judge | None = None, seed: int = 0
    ) -> Verdict:
        """Score one response.

        Args:
            fields: of the question, as published.
            response: any text; None, a sample that failed, counts as an empty one.
            protocol: one of PROTOCOLS.
            judge: for `official`, where it asks one.
            seed: of the official parsers' random fallbacks, where they are switched on.
        Raises:
            ValueError: an unknown protocol, or a missing field. Never because of what the response says.
        """
        if protocol not in self.protocols:
            raise ValueError(
                f"protocol: got {protocol!r}, expected {' or '.join(map(repr, self.protocols))} for {self.name}"
            )
        if protocol == "official":
            return self.official(fields, response or "", judge, seed)
        return self.rule(fields, response or "")

    def load(self, path: str | Path) -> Iterator[Question]:
        """The questions of a published file, one by one; see published.read_rows for what path may be.

        Raises:
            ValueError: no such file, a row without a field that it should have, or with one that nothing can be scored
                by.
        """
        return (question for question in self.read(path) if question is not None)

    def read(self, path: str | Path) -> Iterator[Question | None]:
        """As load, with None for a row that is none of the benchmark's questions."""
        for number, entry in enumerate(read_rows(Path(path), self.splits, self.image_columns)):
            fields = entry.fields if entry.key is None else {self.id_fields[0]: entry.key, **entry.fields}
            raw_images = () if self.may_be_text and _has_none(entry.images) else entry.images or ()
            try:
                yield self._question(fields, raw_images, number) if self.keeps(fields, raw_images) else None
            except ValueError as error:
                raise ValueError(f"{path}: {entry.place}: {error}") from None

    def _question(self, fields: dict[str, Any], raw_images: Sequence[RawImage], number: int) -> Question:
        images = tuple(ImagePart(raw) for raw in raw_images)
        content = self.place_images(self.prompt(fields), images)
        verdict = self.rule(fields, "")  # what cannot be scored is told now, and not after all is sampled
        self.aggregate([{**fields, "parsed": verdict.parsed, "hit": verdict.hit}])
        return Question(self.question_id(fields, number), content, fields, self.cluster(fields, images))

    def keeps(self, fields: Fields, images: Sequence[RawImage]) -> bool:
        """Whether a row of the published file is one of the benchmark's questions."""
        return bool(images) or not self.needs_image

    @staticmethod
    def place_images(text: str, images: Sequence[ImagePart]) -> tuple[str | ImagePart, ...]:
        """The parts of the prompt with this text: the images, then the text."""
        return (*images, text)

    def question_id(self, fields: Fields, number: int) -> str:
        """The published id, else the number of the row in its file, from 0."""
        return next((str(fields[name]) for name in self.id_fields if is_present(fields.get(name))), str(number))

    def cluster(self, fields: Fields, images: Sequence[ImagePart]) -> str:
        """Which questions go together."""
        named = [str(fields[name]) for name in self.cluster_fields if is_present(fields.get(name))]
        return named[0] if named else " ".join(image.raw.key for image in images) or str(field(fields, "question"))

    def doubt(self, fields: Fields) -> str | None:
        """What is wrong with a row that can be scored all the same: an answer that no response can give; else None."""
        return None

    def aggregate(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Metrics of ONE pass: average them over passes, never the hits before them.

        Args:
            rows: fields with `parsed` and `hit`, of all questions of the pass in any order.
        Returns: the headline first, out of max_points; all others are percentages, NaN where nothing was scored.
            `unparsed` and `unscored` are shares of the rows; rows without a hit count nowhere else.
        Raises:
            ValueError: no rows, or a missing field.
        """
        if not rows:
            raise ValueError(f"rows: got none, expected the scored responses of one pass over {self.name}")
        for row in rows:
            if not {"parsed", "hit"} <= row.keys():
                raise ValueError(
                    f"rows: got one with {', '.join(row)}, expected `parsed` and `hit` too; score it first"
                )
        return {
            **self.metrics(rows),
            "unparsed": percent(row["parsed"] is None for row in rows),
            "unscored": percent(row["hit"] is None for row in rows),
        }

    def metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """The headline and what stands beside it; arguments as in aggregate."""
        return {"accuracy": accuracy(rows)}


def field(fields: Fields, *names: str) -> Any:
    """The first of these fields that is present.

    Raises:
        ValueError: if none is.
    """
    for name in names:
        if is_present(fields.get(name)):
            return fields[name]
    raise ValueError(
        f"fields: got {', '.join(map(repr, fields)) or 'none'}, expected {' or '.join(map(repr, names))} with a value; "
        "pass the row as published"
    )


def one_of(fields: Fields, known: Sequence[str], *names: str) -> str:
    """The first of these fields that is present, which says of which kind a row is.

    Raises:
        ValueError: if none is, or it says something else.
    """
    value = str(field(fields, *names))
    if value not in known:
        name = next(name for name in names if is_present(fields.get(name)))
        raise ValueError(f"{name}: got {value!r}, expected {' or '.join(map(repr, known))}; pass the row as published")
    return value


def _has_none(images: Sequence[RawImage] | None) -> bool:
    """Whether there is nothing but what stands for images that the file lacks."""
    return all(isinstance(image, NoImage) for image in images or ())


def is_present(value: object) -> bool:
    """Whether a published cell holds something: not None, not empty, not the NaN that stands for an empty cell."""
    return not (value is None or value == "" or (isinstance(value, float) and math.isnan(value)))


def ask(judge: Judge | None, prompt: str) -> str | None:
    """The judge's reply, without surrounding space and without the label that ends the prompt.

    Returns: None without a judge, for a failed call, and for an empty reply.
    """
    reply = judge(prompt) if judge is not None else None
    label = prompt.rpartition("\n")[2]
    return (reply or "").strip().removeprefix(label).strip() or None
