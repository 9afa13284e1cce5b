"""`vaopd eval`: its subcommands, and KEY=VALUE words for an evaluation.

vaopd eval model=DIR benchmarks=all n=8 protocol=rule data=datasets out=eval/NAME
vaopd eval table RUN...
vaopd eval compare A B
vaopd eval fetch BENCHMARK... data=datasets
vaopd eval questions BENCHMARK files.BENCHMARK=PATH
vaopd eval score BENCHMARK, vaopd eval aggregate BENCHMARK      see score.py
vaopd eval crosscheck --backend NAME --python FILE              see crosscheck.py
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from verl_vaopd.commands import crosscheck, score
from verl_vaopd.commands.pipes import quiet_if_closed
from verl_vaopd.evaluation.benchmark import PROTOCOLS

_RUN = "run"
_INCOMPLETE = 1


def main(argv: Sequence[str]) -> int:
    """Run one subcommand; returns the exit code. Raises ValueError for a user's mistake."""
    arguments = list(argv)
    if arguments and ("=" in arguments[0] or arguments[0] == "--keys"):
        arguments.insert(0, _RUN)
    options = _parser().parse_args(arguments)
    return options.command(options)


def evaluate(options: argparse.Namespace) -> int:
    """`vaopd eval KEY=VALUE ...`: sample, score and print the table; 1 if calls failed and are to be made again."""
    from verl_vaopd.evaluation.settings import defaults, parse

    if options.keys:
        print(defaults(), end="")
        return 0
    settings = parse(options.settings)
    # vLLM, Ray and pyarrow are not needed to find a mistake in the words.
    from verl_vaopd.evaluation.run import run
    from verl_vaopd.evaluation.tables import make_tables

    out, num_failed = run(settings)
    print(make_tables([out], settings.protocol, out))
    print(f"written to {out}")
    if num_failed:
        print(f"{num_failed} calls failed; the same command makes them again")
        return _INCOMPLETE
    return 0


def fetch(options: argparse.Namespace) -> int:
    """`vaopd eval fetch NAME...`: published files from the hub into `data`."""
    from verl_vaopd.evaluation.fetching import fetch as fetch_benchmarks
    from verl_vaopd.evaluation.settings import benchmark_names, parse_names

    settings = parse_names(options.words)
    for line in fetch_benchmarks(benchmark_names(settings), Path(settings.data).expanduser()):
        print(line, flush=True)
    return 0


def questions(options: argparse.Namespace) -> int:
    """`vaopd eval questions NAME`: the questions as JSONL, and on stderr what a run would leave out or miss."""
    from verl_vaopd.evaluation.benchmarks import BENCHMARKS
    from verl_vaopd.evaluation.listing import listed
    from verl_vaopd.evaluation.origin import note, origin_of
    from verl_vaopd.evaluation.questions import data_path, read_questions
    from verl_vaopd.evaluation.settings import parse_files

    settings = parse_files(options.benchmark, options.settings)
    benchmark, path = BENCHMARKS[options.benchmark], data_path(settings, options.benchmark)
    origin = origin_of(path, benchmark.splits)
    found = read_questions(benchmark, path, settings.limit)
    with quiet_if_closed():
        sys.stdout.writelines(found.lines)
    print(f"{path}: {len(found.lines)} questions of {benchmark.name}", file=sys.stderr)
    print(note(origin), end="", file=sys.stderr)
    print(found.notes(path, benchmark), end="", file=sys.stderr)
    if found.without_image:
        print(f"{path}: {len(found.without_image)} questions lack an image, and can only be scored:", file=sys.stderr)
        print(listed(found.without_image), file=sys.stderr)
    return 0


def table(options: argparse.Namespace) -> int:
    """`vaopd eval table RUN...`"""
    from verl_vaopd.evaluation.tables import make_tables

    print(make_tables(options.runs, options.protocol, options.out))
    print(f"written to {options.out}")
    return 0


def compare(options: argparse.Namespace) -> int:
    """`vaopd eval compare A B`"""
    from verl_vaopd.evaluation.comparison import compare as compare_runs

    print(compare_runs(options.first, options.second, options.protocol))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vaopd eval", description="Benchmarks: responses, scores, tables.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser(
        _RUN, help="evaluate a model; the word may be left out: vaopd eval model=DIR benchmarks=all n=8"
    )
    command.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="see --keys")
    command.add_argument("--keys", action="store_true", help="print all keys with their defaults and start nothing")
    command.set_defaults(command=evaluate)

    command = commands.add_parser("table", help="the paper's table of evaluated models, in four formats")
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="directory of an evaluation")
    _add_protocol(command)
    command.add_argument("--out", type=Path, default=Path("eval"), metavar="DIR", help="for the files (default: eval)")
    command.set_defaults(command=table)

    command = commands.add_parser("compare", help="paired differences between two evaluated models")
    command.add_argument("first", type=Path, metavar="A")
    command.add_argument("second", type=Path, metavar="B")
    _add_protocol(command)
    command.set_defaults(command=compare)

    command = commands.add_parser("fetch", help="download published files from the Hugging Face hub; resumable")
    command.add_argument(
        "words", nargs="+", metavar="BENCHMARK", help="names, or all, and data=DIR (default: datasets)"
    )
    command.set_defaults(command=fetch)

    command = commands.add_parser("questions", help="print a benchmark's questions with their ids (JSONL); asks none")
    command.add_argument("benchmark", metavar="BENCHMARK", help="such as mathvista; a wrong name lists them all")
    command.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="data, files.BENCHMARK, limit")
    command.set_defaults(command=questions)

    score.add_commands(commands)
    crosscheck.add_command(commands)
    return parser


def _add_protocol(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--protocol", choices=PROTOCOLS, help="needed where runs have scores by both (default: the only one)"
    )
