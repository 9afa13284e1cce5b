"""`vaopd prepare check DIR`: rows in order, and none of training in validation, test or a benchmark."""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from verl_vaopd.commands.data import check_rows
from verl_vaopd.commands.program import short
from verl_vaopd.config.data_schema import DatasetConfig
from verl_vaopd.data.leaks.collecting import Collection, collect, items_of
from verl_vaopd.data.leaks.dropping import SPLIT, TRAIN, drop, require_droppable
from verl_vaopd.data.leaks.matches import Search
from verl_vaopd.data.leaks.report import Comparison, as_json, as_text, num_leaks
from verl_vaopd.evaluation.benchmarks import BENCHMARKS
from verl_vaopd.evaluation.compared import benchmark_paths, items_of_benchmark
from verl_vaopd.files import content, require_own_results, result_files, sha256_of, write_text

VALIDATION = "validation"


def check(options: argparse.Namespace) -> int:
    """Check rows, look for leaks, print them, and with --drop take them out of train.parquet.

    Returns: 0 where no leak is left, 1 where some are.
    Raises:
        ValueError: rows that cannot be used, no benchmark where one is named, or a directory or file of somebody's
            that would have to be written over.
    """
    directory: Path = options.directory.expanduser()
    paths = benchmark_paths(options.against, options.data)
    result: Path | None = options.json and options.json.expanduser()
    if result:
        require_own_results(result.parent, [result.name])
    if options.drop:
        require_droppable(directory)
    num_rows = check_rows(directory)
    files = {file.stem: file for file in sorted(num_rows)}
    splits = [
        collect(name, items_of(file, DatasetConfig.prompt_suffix), num_rows[file]) for name, file in files.items()
    ]
    benchmarks = [_read_benchmark(name, path) for name, path in paths.items()]
    comparisons = _compare(splits, benchmarks)
    digests = {name: sha256_of(file) for name, file in files.items()}
    digests |= {benchmark.name: _digest(paths[benchmark.name]) for benchmark in benchmarks}
    print(as_text(comparisons))
    if result:
        with result_files(result.parent) as staged:
            write_text(staged / result.name, json.dumps(as_json(comparisons, digests), indent=1) + "\n")
    num_left = num_leaks(comparisons)
    if options.drop:
        num_dropped = drop(directory, comparisons, digests)
        comparisons = [pair if pair.left.name != SPLIT else replace(pair, matches=()) for pair in comparisons]
        num_left = num_leaks(comparisons)
        print(f"dropped {num_dropped} rows from {short(directory / TRAIN)}")
    return 1 if num_left else 0


def _read_benchmark(name: str, path: Path) -> Collection:
    read = collect(name, items_of_benchmark(BENCHMARKS[name], path), total=None)
    print(f"{name}: {len(read.rows)} questions, {read.num_pictures} images ({short(path)})")
    if read.num_missing:
        print(
            f"  {read.num_missing} of its images are not there or cannot be read: text alone is compared in their place"
        )
    if read.num_hidden:
        print(f"  {read.num_hidden} of these questions are too general to be told by their text: not compared")
    return read


def _compare(splits: list[Collection], benchmarks: list[Collection]) -> list[Comparison]:
    """Train with itself, the splits with each other, train and validation with the benchmarks."""
    search = Search([*splits, *benchmarks])
    first = [SPLIT, VALIDATION]
    splits = sorted(splits, key=lambda split: first.index(split.name) if split.name in first else len(first))
    pairs = [(split, split) for split in splits if split.name == first[0]]
    pairs += [*combinations(splits, 2)]
    pairs += [(split, benchmark) for split in splits if split.name in first for benchmark in benchmarks]
    return [Comparison(left, right, search.matches(left, right)) for left, right in pairs]


def _digest(path: Path) -> str:
    """Of a file, its sha256; of a directory, one over the names and contents of its files."""
    if path.is_file():
        return sha256_of(path)
    lines = [f"{name} {sha256_of(path / name)}" for name in content(path) if (path / name).is_file()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
