"""Questions of benchmarks as data sets are compared with them (data/leaks/): text and images, nothing scored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from verl_vaopd.data.leaks.collecting import Item
from verl_vaopd.evaluation.benchmark import Benchmark, ImagePart, Question, is_present
from verl_vaopd.evaluation.benchmarks import BENCHMARKS
from verl_vaopd.evaluation.questions import data_path
from verl_vaopd.evaluation.settings import parse_files

_BARE = ("question", "problem")
"""Fields with the question alone, where the prompt says more than that."""


def benchmark_paths(given: list[str], data: Path | None) -> dict[str, Path]:
    """Where benchmarks are to be read from: {name: file or directory}.

    Args:
        given: words NAME=PATH.
        data: directory in which every benchmark that is there is taken, as `vaopd eval data=DIR` looks for them.
    Raises:
        ValueError: no such word, benchmark or path; no benchmark in the directory.
    """
    paths = {} if data is None else _present(data)
    for word in given:
        name, _, path = word.partition("=")
        if not path or name not in BENCHMARKS:
            raise ValueError(
                f"--against: got {word!r}, expected NAME=PATH, such as mathvista=datasets/mathvista; names are "
                f"{', '.join(BENCHMARKS)}"
            )
        paths[name] = Path(path).expanduser()
        if not paths[name].exists():
            raise ValueError(f"--against {name}: got {path}, expected a file or directory that exists")
    return paths


def items_of_benchmark(benchmark: Benchmark, path: Path) -> Iterator[Item]:
    """The questions of a published file. Raises ValueError as Benchmark.load."""
    return (_item(question) for question in benchmark.load(path))


def _present(data: Path) -> dict[str, Path]:
    paths = {}
    for name in BENCHMARKS:
        settings = parse_files(name, [f"data={data}"])
        try:
            paths[name] = data_path(settings, name)
        except ValueError:  # it is not there
            continue
    if not paths:
        raise ValueError(f"--data: got no benchmark in {data}, expected some, under names as `vaopd eval data=` has")
    return paths


def _item(question: Question) -> Item:
    parts = [part for part in question.content if isinstance(part, ImagePart)]
    text = " ".join(part for part in question.content if isinstance(part, str))
    bare = next((str(question.fields[name]) for name in _BARE if is_present(question.fields.get(name))), text)
    images = tuple(part.encoded() for part in parts if part.raw.missing() is None)
    return Item(question.id, bare, images, len(parts) - len(images))
