"""`vaopd eval crosscheck`: our scores beside those of another framework.

    vaopd eval crosscheck --backend vlmevalkit --python ENV/bin/python
    vaopd eval crosscheck --backend lmms-eval --python ENV/bin/python --benchmark mmmu --responses responses.jsonl
    vaopd eval crosscheck --backend lmms-eval --recorded tests/data/crosscheck/lmms-eval.jsonl

Without responses of the user's the synthetic cases are compared, whose differences are known (known.yaml): the exit
code is 1 if there are others, or fewer. With `--recorded` the outcomes of an earlier run stand in for the framework.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from verl_vaopd.evaluation.crosscheck.backends import (
    BACKENDS,
    Backend,
    backend_named,
    check_benchmark,
    check_interpreter,
)
from verl_vaopd.evaluation.crosscheck.case import Case
from verl_vaopd.evaluation.crosscheck.cases import read_cases, synthetic
from verl_vaopd.evaluation.crosscheck.comparison import compare, compare_metrics, line, metric_line, problems
from verl_vaopd.evaluation.crosscheck.outcomes import OUTCOMES, read_outcomes, run
from verl_vaopd.evaluation.crosscheck.report import summary

_OTHER_DIFFERENCES = 1


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `crosscheck` to the subcommands of `vaopd eval`."""
    command = commands.add_parser("crosscheck", help="score the same responses with another framework")
    command.add_argument("--backend", required=True, metavar="NAME", help=" or ".join(BACKENDS))
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--python", metavar="FILE", help="interpreter of an environment that has the framework")
    source.add_argument("--recorded", type=Path, metavar="FILE", help=f"{OUTCOMES} of an earlier run, in its place")
    command.add_argument("--benchmark", metavar="BENCHMARK", help="only this one (default: all eight)")
    command.add_argument(
        "--responses", type=Path, metavar="JSONL", help="as for `vaopd eval score` (default: the synthetic cases)"
    )
    command.add_argument(
        "--out", type=Path, metavar="DIR", help="for its files; new or empty (default: eval/crosscheck-NAME)"
    )
    command.set_defaults(command=crosscheck)


def crosscheck(options: argparse.Namespace) -> int:
    """`vaopd eval crosscheck`"""
    backend = backend_named(options.backend)
    cases = _cases(backend, options.benchmark, options.responses)
    if options.recorded:
        outcomes = read_outcomes(options.recorded)
    else:
        out = options.out or Path("eval") / f"crosscheck-{backend.name}"
        outcomes = run(backend, check_interpreter(backend, options.python), cases, out)
        print(f"written to {out}")
    compared = compare(backend, cases, outcomes)
    metrics = compare_metrics(backend, compared, outcomes)
    print(summary(backend, outcomes, compared))
    if options.responses:
        told = [line(one) for one in compared if one.differs] + [metric_line(one) for one in metrics if one.differs]
    else:
        told = problems(backend, compared, metrics)
    print("".join(f"{one}\n" for one in told), end="")
    return _OTHER_DIFFERENCES if told and not options.responses else 0


def _cases(backend: Backend, benchmark: str | None, responses: Path | None) -> list[Case]:
    if benchmark is not None:
        check_benchmark(benchmark)
    if responses is None:
        return [case for case in synthetic(backend.layout) if benchmark in (None, case.benchmark)]
    if benchmark is None:
        raise ValueError("--responses: got no --benchmark, expected the one that they are responses to")
    return read_cases(responses, benchmark)
