"""Input files of the frameworks: the published questions, and the responses to them.

    responses/BENCHMARK.jsonl   both: `case`, `input` (its hash), `response`, `replies` of a judge by role, and
                                `fields` (lmms-eval: the document as published) or `index` (VLMEvalKit: the question's)
    LMUData/DATASET.tsv         VLMEvalKit: the published table; the first row has an image, the others point to it
    datasets.json               VLMEvalKit: its name of every benchmark

VLMEvalKit's own spreadsheet of predictions is written by VLMEvalKit, as after its own inference.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from verl_vaopd.evaluation.benchmark import is_present
from verl_vaopd.evaluation.benchmarks import BENCHMARKS
from verl_vaopd.evaluation.crosscheck.backends import Backend
from verl_vaopd.evaluation.crosscheck.case import Case
from verl_vaopd.files import listing_of, read_yaml

_NEEDED = read_yaml(Path(__file__).with_name("columns.yaml"))
_OWN_COLUMNS = ("image", "prediction", "hit", "log", "res", "extract", "extracted", "score", "parsed", "sample")
_IMAGE = (  # 8 x 8 pixels; cells of up to 64 characters are pointers
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAD0lEQVR42mP4jwMwDC0JALoev0GJ6La7AAAAAElFTkSuQmCC"
)


def write_inputs(backend: Backend, cases: Sequence[Case], directory: Path) -> None:
    """Write a framework's input files.

    Raises:
        ValueError: the directory has something in it, or a question lacks a column that the framework needs.
    """
    for case in cases:
        missing = [name for name in _NEEDED[backend.layout][case.benchmark] if name not in case.fields]
        if missing:
            raise ValueError(
                f"{case.benchmark}: {case.id}: got no column {', '.join(map(repr, missing))}, which {backend.name} "
                f"needs; pass rows of {'its own TSV file' if backend.layout == 'tsv' else 'the Hugging Face data set'}"
            )
    if directory.is_file() or (directory.exists() and any(directory.iterdir())):
        raise ValueError(
            f"--out: got {directory}, which holds {listing_of(directory)}; expected a new or empty directory, as "
            "frameworks go on with what they find; name another one"
        )
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.benchmark, []).append(case)
    for benchmark, of_benchmark in groups.items():
        rows: list[dict[str, Any]] = [
            {"case": case.id, "input": case.input_hash, "response": case.response, "replies": dict(case.replies)}
            for case in of_benchmark
        ]
        if backend.layout == "tsv":
            indices = [_index(number, case) for number, case in enumerate(of_benchmark)]
            rows = [{**row, "index": index} for row, index in zip(rows, indices, strict=True)]
            _write_table(directory / "LMUData" / f"{BENCHMARKS[benchmark].tsv}.tsv", of_benchmark, indices)
        else:
            rows = [{**row, "fields": case.fields} for row, case in zip(rows, of_benchmark, strict=True)]
        _write(directory / "responses" / f"{benchmark}.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    if backend.layout == "tsv":
        _write(directory / "datasets.json", json.dumps({name: BENCHMARKS[name].tsv for name in groups}))


def _index(number: int, case: Case) -> str:
    """The number of the row, as one question may have several; HallusionBench's tells set, figure and question."""
    if case.benchmark != "hallusionbench":
        return str(number)
    return "_".join([str(number), *str(case.fields["index"]).split("_")[1:]])


def _write_table(path: Path, cases: Sequence[Case], indices: Sequence[str]) -> None:
    names = dict.fromkeys(name for case in cases for name in case.fields if name not in _OWN_COLUMNS)
    columns = ["index", "image", *(name for name in names if name != "index")]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, dialect="excel-tab", lineterminator="\n")
        table.writerow(columns)
        table.writerows(_cells(columns, cases, indices))


def _cells(columns: Sequence[str], cases: Sequence[Case], indices: Sequence[str]) -> Iterable[list[str]]:
    image = _IMAGE
    for case, index in zip(cases, indices, strict=True):
        row = {**case.fields, "index": index, "image": image}
        yield [str(row[name]) if is_present(row.get(name)) else "" for name in columns]
        image = indices[0]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
