"""What `vaopd eval` is asked for: KEY=VALUE words, and the only home of their defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from verl_vaopd.algorithms.options import option, options_of
from verl_vaopd.config.data_schema import DatasetConfig
from verl_vaopd.data.files import DATASETS
from verl_vaopd.evaluation.benchmark import PROTOCOLS, Benchmark
from verl_vaopd.evaluation.benchmarks import BENCHMARKS, PAPER


@dataclass
class JudgeSettings:
    """The model that `protocol=official` asks where the published protocol asks one."""

    model: str | None = option(None, "Its name at the endpoint; null: no judge, and what needs one stays unscored.")
    endpoint: str = option("https://api.openai.com/v1", "Base URL of an OpenAI-compatible server.")
    key_env: str = option("OPENAI_API_KEY", "Environment variable that holds the key; none is sent if it is not set.")
    concurrency: int = option(16, "Calls at a time.", at_least=1)
    max_tokens: int = option(256, "Of a reply.", at_least=1)
    timeout: float = option(120.0, "Seconds for one attempt.", above=0)
    attempts: int = option(5, "Of one call; pauses between them double from one second on.", at_least=1)
    input_price: float | None = option(
        None, "Price of a million prompt tokens; with output_price, the cost is told.", at_least=0
    )
    output_price: float | None = option(None, "Price of a million tokens of replies.", at_least=0)
    cache: str | None = option(None, "JSONL file of all replies; null: judge-cache.jsonl in the run's directory.")


@dataclass
class Settings:
    """One evaluation. Exactly one of model (sampled here), endpoint (with the model's name there) and responses."""

    model: str | None = option(None, "Hugging Face directory or id, or a run directory (its best checkpoint).")
    endpoint: str | None = option(None, "Base URL of an OpenAI-compatible server, such as http://localhost:8000/v1.")
    responses: str | None = option(
        None, "File made elsewhere: benchmark, question, sample, response; finish_reason and num_tokens if known."
    )
    benchmarks: str = option("all", "Names with commas between them; all: those of the paper.")
    data: str = option(DATASETS, "Directory of the benchmarks' files.")
    files: dict[str, str] = option({}, "File or directory of a single benchmark: files.mathvista=PATH.")
    out: str | None = option(None, "The run's directory; null: eval/NAME, after the model.")
    protocol: str = option("rule", "How responses are scored.", choices=PROTOCOLS)
    random_fallback: bool = option(
        False,
        "With protocol=official: guess where the official parser does (MMMU; AI2D and MMStar behind a judge), seeded.",
    )
    grouping: str = option("official", "Of HallusionBench: official, or vlmevalkit.")
    prompt_suffix: str = option(
        DatasetConfig.prompt_suffix, "Of geo3k: appended to each problem; that of the training (dataset.prompt_suffix)."
    )
    n: int | None = option(8, "Samples per question; with responses=, as many as the file has of each.", at_least=1)
    temperature: float = option(1.0, "Of sampling; 0 is greedy.", at_least=0)
    top_p: float = option(1.0, "Of sampling.", above=0, at_most=1)
    max_tokens: int = option(4096, "Of a response.", at_least=1)
    seed: int = option(0, "Of sampling, and of the official parsers' guesses.")
    limit: int | None = option(None, "Only the first so many questions of each benchmark.", at_least=1)
    min_pixels: int | None = option(
        DatasetConfig.min_pixels,
        "Of an image; null: as the model's processor has it. (Some benchmarks' images are never resized.)",
        nullable=True,
        at_least=1,
    )
    max_pixels: int | None = option(DatasetConfig.max_pixels, "The same.", nullable=True, at_least=1)
    key_env: str = option("OPENAI_API_KEY", "As judge.key_env, for endpoint.")
    concurrency: int = option(32, "Calls to endpoint at a time.", at_least=1)
    timeout: float = option(600.0, "Seconds for one attempt at the endpoint.", above=0)
    attempts: int = option(5, "Of one call to endpoint.", at_least=1)
    judge: JudgeSettings = field(default_factory=JudgeSettings)
    engine: dict[str, Any] = option({}, "Further arguments of vllm.LLM: engine.tensor_parallel_size=2.")


def parse(words: Sequence[str]) -> DictConfig:
    """Settings from KEY=VALUE words, checked as far as that needs no file.

    Raises:
        ValueError: an unknown key, a value of the wrong type or out of range, an unknown benchmark, no or two sources.
    """
    not_pairs = [word for word in words if "=" not in word]
    if not_pairs:
        raise ValueError(f"eval: got {not_pairs[0]!r}, expected KEY=VALUE, such as model=DIR benchmarks=all n=8")
    try:
        given = OmegaConf.from_dotlist(list(words))
        settings = OmegaConf.merge(OmegaConf.structured(Settings), given)
    except (OmegaConfBaseException, YAMLError) as error:
        raise ValueError(f"eval: {_first_line(error)}; `vaopd eval --keys` lists them") from None
    assert isinstance(settings, DictConfig)
    _check(settings)
    if settings.responses and "n" not in given:
        settings.n = None
    return settings


def parse_files(name: str, words: Sequence[str]) -> DictConfig:
    """Settings that say where the questions of one benchmark are, for a command that asks none of them.

    Raises:
        ValueError: another key than data, files and limit, and as parse.
    """
    keys = ("data", "files", "limit")
    other = [word for word in words if word.partition("=")[0].partition(".")[0] not in keys]
    if other:
        raise ValueError(f"questions: got {other[0]}, expected only {name} and {', '.join(keys)}; leave it out")
    return parse([f"benchmarks={name}", "model=none", *words])


def parse_names(words: Sequence[str]) -> DictConfig:
    """Settings that name benchmarks and the directory of their files. Raises ValueError for another key, and as parse.

    Args:
        words: names, and data=DIR on either side of them.
    """
    names = [word for word in words if "=" not in word]
    other = [word for word in words if "=" in word and not word.startswith("data=")]
    if other or not names:
        got = other[0] if other else "no name"
        raise ValueError(f"fetch: got {got}, expected names of benchmarks, or all, and data=DIR")
    rest = [word for word in words if "=" in word]
    return parse([f"benchmarks={','.join(names)}", "model=none", *rest])


def defaults() -> str:
    """All keys with their defaults, one KEY=VALUE per line."""
    lines = []
    for key, value in OmegaConf.to_container(OmegaConf.structured(Settings)).items():
        if isinstance(value, dict):
            lines += [f"{key}.{name}={_word(of_name)}" for name, of_name in value.items()] or [f"{key}.NAME=VALUE"]
        else:
            lines.append(f"{key}={_word(value)}")
    return "\n".join(lines) + "\n"


def benchmark_names(settings: DictConfig) -> tuple[str, ...]:
    """The benchmarks asked for, in their order, each once.

    Raises:
        ValueError: an unknown one, or none.
    """
    wanted = [name.strip() for name in settings.benchmarks.split(",") if name.strip()]
    names = tuple(dict.fromkeys(name for word in wanted for name in (PAPER if word == "all" else (word,))))
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown or not names:
        raise ValueError(
            f"benchmarks: got {', '.join(unknown) or 'none'}, expected all, or some of {', '.join(BENCHMARKS)}"
        )
    return names


def benchmark_of(settings: DictConfig, name: str) -> Benchmark:
    """A benchmark with its switches as they are set. Raises ValueError for a value that it does not know."""
    return replace(BENCHMARKS[name], **{switch.name: settings[switch.name] for switch in fields(BENCHMARKS[name])})


def out_directory(settings: DictConfig) -> Path:
    """`out`, or eval/ and the name of the model or of the file of responses."""
    if settings.out:
        return Path(settings.out).expanduser()
    source = Path(settings.responses).stem if settings.responses else str(settings.model)
    return Path("eval") / (Path(source).name or source.replace("/", "-"))


def _check(settings: DictConfig) -> None:
    if bool(settings.model) == bool(settings.responses):
        got = "both" if settings.model else "neither"
        raise ValueError(
            f"eval: got {got} of model= and responses=; expected one: model=DIR to sample here, model=NAME "
            "endpoint=URL to ask a server, or responses=FILE made elsewhere"
        )
    if settings.endpoint and settings.responses:
        raise ValueError("eval: got endpoint= and responses=; expected one of them; leave one out")
    for key, known, _ in options_of(Settings):
        value = OmegaConf.select(settings, key)
        if known.is_number and not known.allows(value):
            raise ValueError(f"{key}: got {value}, expected {known.expected}")
    names = benchmark_names(settings)
    not_asked = [name for name in settings.files if name not in names]
    if not_asked:
        raise ValueError(f"files.{not_asked[0]}: expected one of the benchmarks asked for: {', '.join(names)}")
    if settings.random_fallback and settings.protocol != "official":
        raise ValueError(f"random_fallback: got it for protocol={settings.protocol}, which never guesses; leave it out")
    for name in names:
        benchmark_of(settings, name)
        if settings.protocol not in BENCHMARKS[name].protocols:
            raise ValueError(
                f"protocol: got {settings.protocol!r}, expected {' or '.join(BENCHMARKS[name].protocols)} for {name}"
            )


def _word(value: Any) -> str:
    return "null" if value is None else str(value)


def _first_line(error: Exception) -> str:
    key = getattr(error, "full_key", None)
    return (f"{key}: " if key else "") + str(error).splitlines()[0]
