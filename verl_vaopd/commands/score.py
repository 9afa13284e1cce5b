"""`vaopd eval score` and `vaopd eval aggregate`: JSONL on stdin, no model, ready at once.

    vaopd eval score mmstar --protocol rule < responses.jsonl > scored.jsonl
    vaopd eval aggregate mmstar < scored.jsonl

A row is one response: the question's fields as in the published row, and `response`; `sample` tells several passes over
the questions apart. `score` writes the row back with `parsed` and `hit`. No judge is asked here: where `official` needs
one, `hit` is null.
"""

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from verl_vaopd.answers.closing import has_end_token
from verl_vaopd.commands.pipes import quiet_if_closed
from verl_vaopd.evaluation.benchmark import PROTOCOLS, Benchmark
from verl_vaopd.evaluation.benchmarks import BENCHMARKS
from verl_vaopd.evaluation.formats.entry import Entry
from verl_vaopd.evaluation.formats.json_rows import read_json
from verl_vaopd.evaluation.listing import listed
from verl_vaopd.evaluation.response_rows import response_of
from verl_vaopd.evaluation.storage import encode, without_nan


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `score` and `aggregate` to the subcommands of `vaopd eval`."""
    command = commands.add_parser("score", help="score responses from stdin (JSONL); no model needed")
    command.add_argument("benchmark", metavar="BENCHMARK", help="such as mathvista; a wrong name lists them all")
    command.add_argument("--protocol", required=True, choices=PROTOCOLS, help="our own rule, or the official parser")
    command.add_argument(
        "--random-fallback", action="store_true", help="official: guess where the official parser does"
    )
    command.add_argument("--seed", type=int, default=0, help="of those guesses (default: 0)")
    command.set_defaults(command=score)

    command = commands.add_parser("aggregate", help="metrics of scored responses from stdin (JSONL)")
    command.add_argument("benchmark", metavar="BENCHMARK", help="such as mathvista; a wrong name lists them all")
    command.add_argument("--grouping", help="hallusionbench: official (default) or vlmevalkit")
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    command.set_defaults(command=aggregate)


def score(options: argparse.Namespace) -> int:
    """`vaopd eval score`: rows from stdin to stdout, with `parsed` and `hit`."""
    switches = {"random_fallback": True} if options.random_fallback else {}
    benchmark = _benchmark(options.benchmark, switches)
    doubts: list[str] = []
    num_end_tokens = 0
    with quiet_if_closed():
        for entry in read_json(sys.stdin.buffer):
            print(encode(_scored(benchmark, entry, options.protocol, options.seed)), end="")
            num_end_tokens += has_end_token(entry.fields.get("response") or "")
            doubt = benchmark.doubt(entry.fields)
            doubts += [f"{entry.place}: {doubt}"] if doubt else []
    if num_end_tokens:
        print(f"{num_end_tokens} responses end with an end token; `rule` leaves it out", file=sys.stderr)
    if doubts:
        print(f"{len(doubts)} rows that no response can answer rightly:\n{listed(doubts)}", file=sys.stderr)
    return 0


def aggregate(options: argparse.Namespace) -> int:
    """`vaopd eval aggregate`: the metrics of every pass, and their mean over passes."""
    benchmark = _benchmark(options.benchmark, {"grouping": options.grouping} if options.grouping else {})
    passes: dict[str, list[dict[str, Any]]] = {}
    for entry in read_json(sys.stdin.buffer):
        _require_scored(benchmark, entry)
        row = {name: value for name, value in entry.fields.items() if name != "response"}
        passes.setdefault(str(row.get("sample", 0)), []).append(row)
    metrics = metrics_per_pass(benchmark, passes)
    means = {name: _mean([of_pass[name] for of_pass in metrics.values()]) for name in next(iter(metrics.values()))}
    if options.json:
        told = {"benchmark": benchmark.name, "passes": metrics, "mean": means}
        print(json.dumps(without_nan(told), indent=2))
    else:
        print(_table(metrics, means))
    return 0


def metrics_per_pass(
    benchmark: Benchmark, passes: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, dict[str, float]]:
    """The metrics of every pass by name; a group that a pass lacks is NaN there.

    Raises:
        ValueError: no pass, or passes with different numbers of rows.
    """
    if not passes:
        raise ValueError("stdin: got no rows, expected scored responses, one JSON object per line")
    sizes = {name: len(rows) for name, rows in passes.items()}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{size} rows of sample {name}" for name, size in sizes.items())
        raise ValueError(f"stdin: got {told}; expected as many of each; finish the run, or leave the short ones out")
    metrics = {name: benchmark.aggregate(rows) for name, rows in passes.items()}
    names = dict.fromkeys(metric for of_pass in metrics.values() for metric in of_pass)
    return {key: {name: of_pass.get(name, math.nan) for name in names} for key, of_pass in metrics.items()}


def _benchmark(name: str, switches: Mapping[str, Any]) -> Benchmark:
    if name not in BENCHMARKS:
        raise ValueError(f"benchmark: got {name!r}, expected one of {', '.join(BENCHMARKS)}")
    known = {switch.name for switch in fields(BENCHMARKS[name])}
    unknown = [switch for switch in switches if switch not in known]
    if unknown:
        raise ValueError(f"--{unknown[0].replace('_', '-')}: got it for {name}, which has no such switch; leave it out")
    return replace(BENCHMARKS[name], **switches)


def _scored(benchmark: Benchmark, entry: Entry, protocol: str, seed: int) -> dict[str, Any]:
    try:
        verdict = benchmark.score(entry.fields, response_of(entry.fields), protocol, seed=seed)
    except ValueError as error:
        raise ValueError(f"{entry.place}: {error}") from None
    return {**entry.fields, "parsed": verdict.parsed, "hit": verdict.hit}


def _require_scored(benchmark: Benchmark, entry: Entry) -> None:
    """Check that a row can be counted; raises ValueError with its place."""
    row = entry.fields
    if not {"parsed", "hit"} <= row.keys():
        raise ValueError(f"{entry.place}: got no `parsed` and `hit`, expected scored rows; run `vaopd eval score`")
    if isinstance(row["hit"], bool) or row["hit"] not in (0, 1, None):
        raise ValueError(
            f"{entry.place}: hit: got {row['hit']!r}, expected 1, 0 or null, as `vaopd eval score` writes it"
        )
    try:
        benchmark.aggregate([row])
    except ValueError as error:
        raise ValueError(f"{entry.place}: {error}") from None


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _table(metrics: Mapping[str, Mapping[str, float]], means: Mapping[str, float]) -> str:
    names = sorted(metrics, key=lambda name: (len(name), name))
    rows = [["metric", *(f"sample {name}" for name in names), "mean"]]
    for metric, mean in means.items():
        rows.append([metric, *(f"{metrics[name][metric]:.2f}" for name in names), f"{mean:.2f}"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows
    )
