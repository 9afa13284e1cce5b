"""The command `vaopd`: what a person calls.

A light process: it composes and checks the configuration, prepares the run directory and watches the training process.
torch, Ray, verl, vLLM and transformers are imported only where a subcommand is about models.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from verl_vaopd.commands.program import program, short
from verl_vaopd.data.generated import MODEL_BUILDERS
from verl_vaopd.disk import told
from verl_vaopd.platform import prepare_environment

USAGE_ERROR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit code: 2 for a user's mistake, told in one message without a traceback."""
    prepare_environment()
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments[1:2] == ["build"] and arguments[0] in MODEL_BUILDERS:  # the builder has a parser of its own
        return _told(MODEL_BUILDERS[arguments[0]], arguments[2:])
    if arguments[:1] in (["eval"], ["prepare"]):  # so have these
        return _told(evaluate if arguments[0] == "eval" else prepare, arguments[1:])
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if options.command in (train, collect, compare, two_stage, plan, doctor):
        # argparse gathers positionals from one place only; overrides may stand on either side of an option.
        unknown = [argument for argument in rest if argument.startswith("-")]
        if not unknown:
            options.overrides, rest = [*options.overrides, *rest], []
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return _told(options.command, options)


def _told(command: Callable[[Any], int], argument: object) -> int:
    """Run a command; a user's mistake, and an interrupt, are told in one line."""
    try:
        return command(argument)
    except ValueError as error:
        print(f"vaopd: {error}", file=sys.stderr)
        return USAGE_ERROR
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        print(f"vaopd: {told(error)}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:  # outside of training, which answers to signals itself
        print("vaopd: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT


def train(options: argparse.Namespace) -> int:
    """`vaopd train`"""
    from verl_vaopd.commands.train import train as run

    return run(options.overrides, [program(), *sys.argv[1:]], print_only=options.cfg is not None)


def show_options(options: argparse.Namespace) -> int:
    """`vaopd options`: every key of ours with its default, what is allowed, and what it means."""
    from verl_vaopd.config.reference import as_text

    print(as_text(options.word))
    return 0


def collect(options: argparse.Namespace) -> int:
    """`vaopd collect`: verified responses of the teacher, for `method=cot_sft` and `method=offpolicy_kd`."""
    from verl_vaopd.commands.data import require_data
    from verl_vaopd.config import compose, validate, with_default_groups
    from verl_vaopd.model_weights import fetch_models, hub_models, require_models
    from verl_vaopd.rollout.collect import collect as collect_responses

    cfg = compose(with_default_groups(options.overrides))
    validate(cfg)
    models = hub_models([cfg])
    require_models(models)
    require_data(cfg)
    fetch_models(models)
    print(f"stored in {short(collect_responses(cfg))}")
    return 0


def compare(options: argparse.Namespace) -> int:
    """`vaopd compare`: several methods and seeds in one Ray session, and their table."""
    from verl_vaopd.commands.compare import compare as run

    return run(options.overrides, options.own, [program(), *sys.argv[1:]])


def two_stage(options: argparse.Namespace) -> int:
    """`vaopd two-stage`: distillation or SFT, then RL from its checkpoint, measured before, between and after."""
    from verl_vaopd.commands.two_stage import two_stage as run

    return run(options.overrides, options.own, [program(), *sys.argv[1:]])


def report(options: argparse.Namespace) -> int:
    """`vaopd report`: the final table and the learning curve of a run, finished or not."""
    from verl_vaopd.commands.report import final_table, learning_curve

    print(final_table(options.run))
    print()
    print(f"learning curve  {short(learning_curve(options.run))}")
    return 0


def export(options: argparse.Namespace) -> int:
    """`vaopd export`: one checkpoint of a run as a Hugging Face directory."""
    from verl_vaopd.platform import probe_gpus, use_cpu
    from verl_vaopd.runs.export import export as export_checkpoint

    use_cpu(not probe_gpus())
    given = {name: value for name, value in vars(options).items() if name in ("checkpoint", "out", "dtype")}
    path = export_checkpoint(options.run, **given)
    print(f"exported to {short(path)}")
    return 0


def doctor(options: argparse.Namespace) -> int:
    """`vaopd doctor`: what is installed, what hardware is here, and whether a training would start."""
    from verl_vaopd.commands.doctor import check, check_running, describe, import_everything
    from verl_vaopd.platform import probe_gpus, use_cpu

    print(describe())
    if options.imports:
        use_cpu(not probe_gpus())
        import_everything()
    code = check(options.overrides)
    return check_running(options.overrides, [program(), *sys.argv[1:]]) if options.run and code == 0 else code


def plan(options: argparse.Namespace) -> int:
    """`vaopd plan`: memory, seconds, hours, disk and traffic of a job, before anything starts."""
    from verl_vaopd.commands.plan import plan as run

    return run(options.overrides, options.gpu, options.response_tokens, options.run, as_data=options.json)


def evaluate(arguments: Sequence[str]) -> int:
    """`vaopd eval`: benchmarks, tables, comparisons; its options are its own."""
    from verl_vaopd.commands.evaluate import main as run

    return run(list(arguments))


def prepare(arguments: Sequence[str]) -> int:
    """`vaopd prepare`: public data sets and checks of data; its options are its own."""
    from verl_vaopd.commands.prepare import main as run

    return run(list(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vaopd", description="Visual-Advantage On-Policy Distillation on verl.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("train", help="train, or resume the same command's unfinished run")
    command.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="Hydra overrides; none: chosen by hardware")
    command.add_argument("--cfg", choices=["job"], help="print the resolved configuration and start nothing")
    command.set_defaults(command=train)

    _add_plan(commands)
    command = commands.add_parser("options", help="what can be set: keys, defaults, ranges, meaning")
    command.add_argument("word", nargs="?", default="", metavar="WORD", help="only keys with it, such as validation")
    command.set_defaults(command=show_options)

    command = commands.add_parser("collect", help="store verified responses of the teacher; resumable")
    command.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="Hydra overrides of the training command")
    command.set_defaults(command=collect)

    for name, function, text in (
        ("compare", compare, "several methods and seeds: method=opd,vaopd seeds=0,1; resumable"),
        ("two-stage", two_stage, "stage1=cot_sft|opd|vaopd, then stage2=grpo|papo; resumable"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="Hydra overrides for all runs")
        command.add_argument(
            "--for",
            dest="own",
            nargs="+",
            action="append",
            default=[],
            metavar="PART",
            help="overrides for one part (a method; stage1, stage2 or measure): --for grpo KEY=VALUE ...; comes last",
        )
        command.set_defaults(command=function)

    command = commands.add_parser("export", help="write a checkpoint as a Hugging Face directory")
    command.add_argument("run", type=Path, metavar="RUN", help="run directory")
    # What is not given is left to runs/export.py.
    given: dict[str, Any] = {"default": argparse.SUPPRESS}
    command.add_argument("--checkpoint", **given, metavar="best|last|N", help="which one (default: best)")
    command.add_argument("--out", **given, type=Path, metavar="DIR", help="default: RUN/export/global_step_N")
    command.add_argument("--dtype", **given, metavar="bfloat16|float32", help="of the weights (default: bfloat16)")
    command.set_defaults(command=export)

    command = commands.add_parser("report", help="print a run's final table again")
    command.add_argument("run", type=Path, metavar="RUN", help="run directory")
    command.set_defaults(command=report)

    command = commands.add_parser("doctor", help="versions, hardware, and whether a training would start")
    command.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="Hydra overrides of the training command")
    command.add_argument("--run", action="store_true", help="also start the models and check them; no step is made")
    command.add_argument("--imports", action="store_true", help="also import verl and vLLM and check the registration")
    command.set_defaults(command=doctor)

    commands.add_parser("prepare", help="data sets as training reads them; `vaopd prepare --help` shows how")
    commands.add_parser("eval", help="benchmarks, tables, comparisons; `vaopd eval --help` shows how")

    for name in MODEL_BUILDERS:
        data_set = commands.add_parser(name, help="the embedded data set and its models")
        of_data_set = data_set.add_subparsers(required=True, metavar="COMMAND")
        of_data_set.add_parser("build", help=f"make its models; `vaopd {name} build --help` shows the options")
    return parser


def _add_plan(commands: Any) -> None:
    command = commands.add_parser("plan", help="estimate memory per GPU, time, disk and traffic of a training")
    command.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="Hydra overrides of the training command")
    command.add_argument("--gpu", metavar="NAME", help="a100-80gb, h100, h200 (default: these GPUs, or the recipe's)")
    command.add_argument("--response-tokens", metavar="MEAN,LONGEST", help="lengths of responses (default: assumed)")
    command.add_argument("--run", type=Path, metavar="RUN", help="use what this run of the same job has measured")
    command.add_argument("--json", action="store_true", help="all numbers, in bytes and seconds")
    command.set_defaults(command=plan)


if __name__ == "__main__":
    sys.exit(main())
