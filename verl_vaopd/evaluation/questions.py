"""Where a benchmark's questions are, and what of them a run keeps: ids, clusters and fields, without images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from verl_vaopd.evaluation.benchmark import Benchmark, ImagePart, Question
from verl_vaopd.evaluation.benchmarks import BENCHMARKS
from verl_vaopd.evaluation.formats.images import ImageFile
from verl_vaopd.evaluation.listing import listed
from verl_vaopd.evaluation.published import SUFFIXES
from verl_vaopd.evaluation.storage import encode


@dataclass(frozen=True)
class QuestionSet:
    """The questions of a run, without their images."""

    lines: tuple[str, ...]
    """JSON, one for each: id, cluster and fields."""
    digest: str
    """Of ids, prompts, images and fields: equal only for equal questions in equal order."""
    num_left_out: int
    """Rows before the last question that are none of the benchmark's questions."""
    without_image: tuple[str, ...]
    """Of every question that cannot be asked, which image it lacks."""
    doubts: tuple[str, ...]
    """Of every question that no response can answer rightly, why."""

    def notes(self, path: Path, benchmark: Benchmark) -> str:
        """What of the file is no question, and what can never be right; empty if there is nothing to say."""
        notes = []
        if self.num_left_out:
            notes.append(f"{path}: {self.num_left_out} rows are left out: {benchmark.left_out_for}")
        if self.doubts:
            notes.append(
                f"{path}: {len(self.doubts)} questions that nothing can answer rightly:\n{listed(self.doubts)}"
            )
        return "".join(f"{note}\n" for note in notes)

    def require_images(self, path: Path) -> None:
        """Raises ValueError if some question of this file cannot be asked."""
        if self.without_image:
            raise ValueError(
                f"{path}: got no image for {len(self.without_image)} of {len(self.lines)} questions, expected all of "
                "them; put the images beside the file (responses made elsewhere are scored without)\n"
                + listed(self.without_image)
            )


def data_path(settings: DictConfig, name: str) -> Path:
    """The file or directory of a benchmark: files.NAME, else the first of the usual names in `data`.

    Raises:
        ValueError: none is there; says where to get it.
    """
    if name in settings.files:
        path = Path(settings.files[name]).expanduser()
        if not path.exists():
            raise ValueError(f"files.{name}: got {path}, expected a file or directory that exists")
        return path
    data, benchmark = Path(settings.data).expanduser(), BENCHMARKS[name]
    for place in places(benchmark, data):
        if place.exists():
            return place
    names = ", ".join(place.name for place in places(benchmark, data))
    raise ValueError(f"{name}: got none of {names} in {data}, expected one; {_where_to_get(benchmark, data)}")


def places(benchmark: Benchmark, data: Path) -> list[Path]:
    """Where a benchmark's files are looked for in `data`, in this order."""
    # The repository's name first: a data set of training may have the benchmark's, as Geometry3K's does.
    names = [fetched_directory(benchmark, data).name] if benchmark.hub_id else []
    names += [benchmark.name]
    names += [stem + suffix for stem in (benchmark.name, benchmark.tsv) if stem for suffix in SUFFIXES]
    return [data / name for name in names]


def read_questions(benchmark: Benchmark, path: Path, limit: int | None) -> QuestionSet:
    """Read all questions once, and keep what scoring needs of them.

    Args:
        benchmark: whose questions they are.
        path: as Benchmark.load.
        limit: only the first so many.
    Raises:
        ValueError: no questions, two of one id, an image that cannot be read, and as Benchmark.load.
    """
    digest = hashlib.sha256()
    lines: list[str] = []
    without_image: list[str] = []
    doubts: list[str] = []
    num_left_out = 0
    for question in _rows(benchmark, path):
        if len(lines) == limit:
            break
        if question is None:
            num_left_out += 1
            continue
        missing = _missing_images(benchmark, question)
        without_image += [f"question {question.id!r}: {'; '.join(missing)}"] if missing else []
        doubt = benchmark.doubt(question.fields)
        doubts += [f"question {question.id!r}: {doubt}"] if doubt else []
        line = encode({"question": question.id, "cluster": question.cluster, "fields": question.fields})
        digest.update(f"{question_digest(question)} {line}".encode())
        lines.append(line)
    return QuestionSet(tuple(lines), digest.hexdigest()[:16], num_left_out, tuple(without_image), tuple(doubts))


def question_ids(benchmark: Benchmark, path: Path) -> list[str]:
    """Of all questions, in order. Errors are those of read_questions."""
    return [question.id for question in _rows(benchmark, path) if question is not None]


def _rows(benchmark: Benchmark, path: Path) -> Iterator[Question | None]:
    """As Benchmark.read; no question at all is an error, and so is an id that comes twice."""
    ids: set[str] = set()
    num_left_out = 0
    for question in benchmark.read(path):
        if question is None:
            num_left_out += 1
        elif question.id in ids:
            raise ValueError(
                f"{path}: got two questions with id {question.id!r}, expected another id for every one of "
                f"{benchmark.name}; use the published file"
            )
        else:
            ids.add(question.id)
        yield question
    if not ids:
        why = f" in {num_left_out} rows, left out because {benchmark.left_out_for}" if num_left_out else ""
        raise ValueError(
            f"{path}: got no question of {benchmark.name}{why}; expected at least one; use the published file"
        )


def question_digest(question: Question) -> str:
    """Hash of a prompt and its images."""
    parts = [part if isinstance(part, str) else _image_key(part) for part in question.content]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def require_data(settings: DictConfig, names: Iterable[str]) -> dict[str, Path]:
    """data_path of every benchmark; all that is missing is told at once."""
    paths, missing = {}, []
    for name in names:
        try:
            paths[name] = data_path(settings, name)
        except ValueError as error:
            missing.append(str(error))
    if missing:
        raise ValueError("\n".join(missing))
    return paths


def _missing_images(benchmark: Benchmark, question: Question) -> list[str]:
    images = [part.raw for part in question.content if not isinstance(part, str)]
    if not images and not benchmark.may_be_text:
        return ["no image"]
    return [missing for image in images if (missing := image.missing()) is not None]


def _image_key(part: ImagePart) -> str:
    # The key of an image file is its name, which says nothing of what is in it.
    if not isinstance(part.raw, ImageFile) or part.raw.missing():
        return part.raw.key
    try:
        return hashlib.sha256(part.encoded()).hexdigest()
    except OSError as error:
        raise ValueError(f"image: got {error}, expected an image file that can be read") from None


def fetched_directory(benchmark: Benchmark, data: Path) -> Path:
    """Where `vaopd eval fetch` puts a benchmark's files: a directory with the name of its repository."""
    assert benchmark.hub_id is not None
    return data / benchmark.hub_id.split("/")[1]


def _where_to_get(benchmark: Benchmark, data: Path) -> str:
    named = f"name it with files.{benchmark.name}=PATH"
    if benchmark.made_by:
        return f"{benchmark.made_by} writes {data / benchmark.name}; {named}"
    hub_id, tsv = benchmark.hub_id, benchmark.tsv
    ways = [f"get it with `vaopd eval fetch {benchmark.name} data={data}`"] if hub_id else []
    ways += [f"take VLMEvalKit's {tsv}.tsv"] if tsv else []
    return f"{' or '.join(ways)}, or {named}" if ways else named
