"""Where a benchmark's questions are, and what of them a run keeps: ids, clusters and fields, without images."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from verl_vaopd.evaluation.benchmark import Benchmark, ImagePart, Question
from verl_vaopd.evaluation.benchmarks import BENCHMARKS
from verl_vaopd.evaluation.published import ImageFile
from verl_vaopd.evaluation.storage import encode
from verl_vaopd.files import write_text


@dataclass(frozen=True)
class QuestionSet:
    """What identifies the questions of a run."""

    num_questions: int
    digest: str
    """Of ids, prompts, images and fields: equal only for equal questions in equal order."""


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
    names = [name, f"{name}.tsv", f"{name}.parquet", f"{name}.jsonl"]
    names += [f"{benchmark.tsv}.tsv"] if benchmark.tsv else []
    names += [benchmark.hub_id.split("/")[1]] if benchmark.hub_id else []
    for candidate in names:
        if (data / candidate).exists():
            return data / candidate
    advice = _where_to_get(benchmark, data / name)
    raise ValueError(f"{name}: got none of {', '.join(names)} in {data}, expected one; {advice}")


def write_questions(benchmark: Benchmark, path: Path, limit: int | None, out: Path) -> QuestionSet:
    """Read all questions once, and keep what scoring needs of them: one JSON line each, id, cluster and fields.

    Args:
        benchmark: whose questions they are.
        path: as Benchmark.load.
        limit: only the first so many.
        out: the file to write.
    Raises:
        ValueError: no questions, two of one id, and as Benchmark.load.
    """
    digest = hashlib.sha256()
    ids: set[str] = set()
    lines = []
    for question in itertools.islice(benchmark.load(path), limit):
        if question.id in ids:
            raise ValueError(
                f"{path}: got two questions with id {question.id!r}, expected another id for every one of "
                f"{benchmark.name}; use the published file"
            )
        ids.add(question.id)
        line = encode({"question": question.id, "cluster": question.cluster, "fields": question.fields})
        digest.update(f"{question_digest(question)} {line}".encode())
        lines.append(line)
    if not lines:
        raise ValueError(f"{path}: got no question of {benchmark.name}, expected at least one; use the published file")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, "".join(lines))
    return QuestionSet(len(lines), digest.hexdigest()[:16])


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


def _image_key(part: ImagePart) -> str:
    # The key of an image file is its path, which says nothing of what is in it.
    return hashlib.sha256(part.encoded()).hexdigest() if isinstance(part.raw, ImageFile) else part.raw.key


def _where_to_get(benchmark: Benchmark, directory: Path) -> str:
    named = f"name it with files.{benchmark.name}=PATH"
    if benchmark.made_by:
        return f"{benchmark.made_by} writes {directory}; {named}"
    hub_id, tsv = benchmark.hub_id, benchmark.tsv
    ways = [f"get it with `hf download {hub_id} --repo-type dataset --local-dir {directory}`"] if hub_id else []
    ways += [f"take VLMEvalKit's {tsv}.tsv"] if tsv else []
    return f"{' or '.join(ways)}, or {named}" if ways else named
