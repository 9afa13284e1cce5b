"""`vaopd prepare`: brings public data sets into the form that training reads, and checks data.

vaopd prepare geo3k --source DIR
vaopd prepare check DIR --data datasets --drop
"""

import argparse
from pathlib import Path

from verl_vaopd.commands.data import check_rows, prepare_data_set
from verl_vaopd.commands.leaks import check
from verl_vaopd.config.data_schema import DatasetConfig
from verl_vaopd.data.files import default_root
from verl_vaopd.data.prepared import PREPARED
from verl_vaopd.data.prepared.preparation import Request


def main(argv: list[str]) -> int:
    """Run one subcommand; returns its exit code. Raises ValueError for a user's mistake."""
    options = _parser().parse_args(argv)
    code: int = options.command(options)
    return code


def _prepare(options: argparse.Namespace) -> int:
    names = [cls.hub_id for cls in dict.fromkeys(PREPARED[options.name].values())]
    sources = dict(zip(names, (options.source, getattr(options, "held_out_source", None)), strict=False))
    prepare_data_set(Request(options.name, options.seed, sources, options.partial), options.out)
    return 0


def _check(options: argparse.Namespace) -> int:
    if options.rows is None:
        return check(options)
    if options.against or options.data or options.drop or options.json:
        raise ValueError("--rows: got it with an option about leaks, expected it alone; leave out --rows before DIR")
    check_rows(options.rows)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vaopd prepare", description="Data sets as training reads them (docs/data.md)."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, splits in PREPARED.items():
        command = commands.add_parser(name, help=f"make {', '.join(splits)} of the public data set; resumable")
        for option, cls in zip(("--source", "--held-out-source"), dict.fromkeys(splits.values()), strict=False):
            text = f"hub id or directory of {cls.__name__} (default: {cls.hub_id})"
            command.add_argument(option, default=cls.hub_id, metavar="ID|DIR", help=text)
        out, seed = default_root(name), DatasetConfig.seed
        command.add_argument("--out", type=Path, default=out, metavar="DIR", help=f"default: {out}")
        command.add_argument("--seed", type=int, default=seed, metavar="N", help=f"draws held-out problems: {seed}")
        command.add_argument("--partial", action="store_true", help="go on although problems are missing in the source")
        command.set_defaults(command=_prepare, name=name)
    command = commands.add_parser(
        "check",
        help="check every row of a directory's parquet files, and find training rows in the other files and benchmarks",
        epilog="Exit code: 0 where nothing leaks, 1 where something does, 2 where rows or arguments cannot be used.",
    )
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("directory", nargs="?", type=Path, metavar="DIR", help="with train.parquet, validation.parquet")
    which.add_argument("--rows", type=Path, metavar="DIR", help="check its rows alone")
    command.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="compare with a benchmark as it is published: mathvista=FILE; may be given several times",
    )
    command.add_argument("--data", type=Path, metavar="DIR", help="compare with all benchmarks in a directory")
    command.add_argument("--drop", action="store_true", help="take the rows that leak out of train.parquet")
    command.add_argument("--json", type=Path, metavar="FILE", help="write all matches")
    command.set_defaults(command=_check)
    return parser
