"""Where a benchmark's questions are, and what of them a run keeps: ids, clusters and fields, without images."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from verl_vaopd.evaluation.benchmark import Benchmark, ImagePart, Question
from verl_vaopd.evaluation.published import ImageFile
from verl_vaopd.evaluation.storage import encode
from verl_vaopd.files import write_text

PUBLISHED = {
    "wemath": ("We-Math/We-Math", "WeMath"),
    "mathvista": ("AI4Math/MathVista", "MathVista_MINI"),
    "mathverse": ("AI4Math/MathVerse", "MathVerse_MINI"),
    "hallusionbench": ("lmms-lab/HallusionBench", "HallusionBench"),
    "ai2d": ("lmms-lab/ai2d", "AI2D_TEST"),
    "mmmu": ("MMMU/MMMU", "MMMU_DEV_VAL"),
    "mmstar": ("Lin-Chen/MMStar", "MMStar"),
    "ocrbench": ("echo840/OCRBench", "OCRBench"),
    "geo3k": ("hiyouga/geometry3k", None),
}
"""Hugging Face data set and the name of VLMEvalKit's TSV."""


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
    data = Path(settings.data).expanduser()
    published, tsv = PUBLISHED.get(name, (None, None))
    names = [name, f"{name}.tsv", f"{name}.parquet", f"{name}.jsonl"]
    names += [f"{tsv}.tsv"] if tsv else []
    names += [published.split("/")[1]] if published else []
    for candidate in names:
        if (data / candidate).exists():
            return data / candidate
    raise ValueError(f"{name}: got none of {', '.join(names)} in {data}, expected one; {_where_to_get(name, data)}")


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


def _where_to_get(name: str, data: Path) -> str:
    published, tsv = PUBLISHED.get(name, (None, None))
    if published is None:
        made = f"a training with dataset=tinygeo writes {data / name}; " if name == "tinygeo" else ""
        return f"{made}name it with files.{name}=PATH"
    ways = [f"get it with `hf download {published} --repo-type dataset --local-dir {data / name}`"]
    ways += [f"take VLMEvalKit's {tsv}.tsv"] if tsv else []
    return f"{' or '.join(ways)}, or name it with files.{name}=PATH"
